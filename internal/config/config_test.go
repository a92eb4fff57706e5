package config_test

import (
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"time"

	example "github.com/halfkey/halfkey/deploy/config"
	"github.com/halfkey/halfkey/internal/config"
)

// programs are the five, each with an empty configuration.
func programs() map[string]config.Program {
	return map[string]config.Program{
		"identity": new(config.Identity), "policy": new(config.Policy), "ledger": new(config.Ledger),
		"cosigner": new(config.Cosigner), "gateway": new(config.Gateway),
	}
}

// write puts a configuration into a file of its own.
func write(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "program.yaml")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func exampleOf(t *testing.T, name string) string {
	t.Helper()
	b, err := example.Files.ReadFile(name + ".yaml")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// Each commented example is a configuration, and every key that a program knows stands in it or in one of its comments.
func TestExamples(t *testing.T) {
	t.Parallel()
	for name, into := range programs() {
		text := exampleOf(t, name)
		path := write(t, text)
		if err := config.Load(path, into); err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if got, want := into.Common().Installation[0], filepath.Join(filepath.Dir(path), "installation.json"); got != want {
			t.Errorf("%s: the installation file is %s, want %s", name, got, want)
		}
		if into.Common().DrainMax() != config.DrainDefault {
			t.Errorf("%s: drains for %s", name, into.Common().DrainMax())
		}
		if into.Common().PauseBeforeDrain() != config.DrainPauseDefault {
			t.Errorf("%s: pauses for %s", name, into.Common().PauseBeforeDrain())
		}
		for _, key := range keys(reflect.TypeOf(into).Elem()) {
			if !strings.Contains(text, key+":") && !strings.Contains(text, key+" and ") && !strings.Contains(text, " and "+key) {
				t.Errorf("%s.yaml says nothing of %s", name, key)
			}
		}
	}
}

// The same of what halfkey-dev takes, all of which may be left out.
func TestAllInOne(t *testing.T) {
	t.Parallel()
	text := exampleOf(t, "halfkey-dev")
	into := new(config.AllInOne)
	if err := config.Load(write(t, text), into); err != nil || into.Operations == "" || into.Telemetry.Sample == 0 {
		t.Errorf("the example: %+v, %v", into, err)
	}
	for _, key := range keys(reflect.TypeFor[config.AllInOne]()) {
		if !strings.Contains(text, key+":") {
			t.Errorf("halfkey-dev.yaml says nothing of %s", key)
		}
	}
	path := write(t, "telemetry: {otlp: {endpoint: 'collector:4317', authorities: ca.pem}}")
	if err := config.Load(path, into); err != nil || into.Telemetry.OTLP.Authorities != filepath.Join(filepath.Dir(path), "ca.pem") {
		t.Errorf("a collector alone: %+v, %v", into, err)
	}
	for _, tt := range []struct{ text, want string }{
		{"operations: localhost", "operations: want host:port"},
		{"telemetry: {sample: 2}", "telemetry.sample"},
		{"listen: :7443", "listen"},
	} {
		if err := config.Load(write(t, tt.text), new(config.AllInOne)); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: %v, want %q", tt.text, err, tt.want)
		}
	}
}

// keys are the keys of a configuration, at any depth.
func keys(of reflect.Type) []string {
	var found []string
	for i := range of.NumField() {
		field := of.Field(i)
		if key, _, _ := strings.Cut(field.Tag.Get("yaml"), ","); key != "" {
			found = append(found, key)
		}
		if field.Type.Kind() == reflect.Struct {
			found = append(found, keys(field.Type)...)
		}
	}
	return found
}

// What may be left out has its default, and no pause is none.
func TestDrainPause(t *testing.T) {
	t.Parallel()
	for to, want := range map[string]time.Duration{"": config.DrainPauseDefault, "drain_pause: 0s": 0, "drain_pause: 7s": 7 * time.Second} {
		into := new(config.Policy)
		if err := config.Load(write(t, swap("drain_pause: 2s", to)(exampleOf(t, "policy"))), into); err != nil {
			t.Errorf("%q: %v", to, err)
		} else if got := into.Common().PauseBeforeDrain(); got != want {
			t.Errorf("%q: a pause of %s, want %s", to, got, want)
		}
	}
}

// What is wrong is named, all of it at once, and nothing is guessed.
func TestRefusals(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, program string
		change        func(text string) string
		want          []string
	}{
		{"a key that is not known", "policy", add("auto_approve: everything"), []string{"auto_approve", "line"}},
		{"a known key at another place", "ledger", add("etcd: {endpoints: [etcd:2379]}"), []string{"etcd"}},
		{"a key deep down", "policy", swap("namespace: halfkey/policy", "namespace: halfkey/policy\n  namespaces: x"), []string{"namespaces"}},
		{"a key twice", "policy", add("listen: :1"), []string{"listen"}},
		{"a second document", "policy", add("---\nlisten: :1"), []string{"second document"}},
		{"another kind of value", "policy", swap("calls_in_flight: 0", "calls_in_flight: many"), []string{"many"}},
		{"nothing", "policy", func(string) string { return "" }, []string{"empty"}},
		{
			"too much", "policy", func(text string) string { return text + strings.Repeat("# all work and no play\n", 8<<10) },
			[]string{"larger than"},
		},
		{"no yaml", "policy", func(string) string { return "\x00\x01" }, []string{"yaml"}},
		{"an alias bomb", "policy", func(string) string {
			return "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\nlisten: [*c,*c,*c,*c,*c,*c]"
		}, []string{"config"}},
		{"all of it missing", "cosigner", func(string) string { return "drain: 1s" }, []string{
			"installation:", "listen:", "operations:", "tls:", "etcd.endpoints:", "etcd.namespace:", "etcd.tls:",
			"statement_key:", "key_encryption_key:",
		}},
		{"no port", "policy", swap("listen: :7443", "listen: localhost"), []string{`listen: want host:port, not "localhost"`}},
		{"a port by name", "policy", swap("listen: :7443", "listen: localhost:https"), []string{"listen"}},
		{
			"files and a socket", "policy", swap("  certificate: tls.pem", "  certificate: tls.pem\n  workload_api: unix:///a"),
			[]string{"tls: either files or workload_api"},
		},
		{
			"a socket by tcp", "ledger", swap("  certificate: tls.pem\n  key: tls.key\n  authorities: ca.pem", "  workload_api: tcp://spire:1"),
			[]string{"tls.workload_api"},
		},
		{
			"a user without a password", "policy", swap("namespace: halfkey/policy", "namespace: halfkey/policy\n  username: policy"),
			[]string{"password_file"},
		},
		{"a share above one", "policy", swap("sample: 0.1", "sample: 10"), []string{"telemetry.sample"}},
		{"a time that is none", "policy", swap("drain: 20s", "drain: 20"), []string{"Duration"}},
		{"a time without end", "policy", swap("drain: 20s", "drain: 100h"), []string{"drain: "}},
		{"a pause without end", "policy", swap("drain_pause: 2s", "drain_pause: 100h"), []string{"drain_pause: "}},
		{"a pause before now", "policy", swap("drain_pause: 2s", "drain_pause: -1s"), []string{"drain_pause: "}},
		{
			"a collector with and without TLS", "policy",
			swap("sample: 0.1", "otlp: {endpoint: 'collector:4317', authorities: a, insecure: true}"),
			[]string{"telemetry.otlp"},
		},
		{
			"a replica without a port", "gateway", swap("dns:///policy:7443", "10.0.0.1:7443,10.0.0.2"),
			[]string{"services.policy: want host:port, not \"10.0.0.2\""},
		},
		{"a list of names", "gateway", swap("dns:///policy:7443", "dns:///a:7443,dns:///b:7443"), []string{"services.policy"}},
		{"a service that is nowhere", "gateway", swap("  ledger: dns:///ledger:7443\n", ""), []string{"services.ledger"}},
	} {
		into := programs()[tt.program]
		changed := tt.change(exampleOf(t, tt.program))
		if changed == exampleOf(t, tt.program) {
			t.Errorf("%s: nothing was changed", tt.name)
		}
		err := config.Load(write(t, changed), into)
		if err == nil {
			t.Errorf("%s: taken", tt.name)
			continue
		}
		for _, want := range tt.want {
			if !strings.Contains(err.Error(), want) {
				t.Errorf("%s: %q does not say %q", tt.name, err, want)
			}
		}
	}
}

func add(line string) func(string) string {
	return func(text string) string { return text + "\n" + line + "\n" }
}

func swap(from, to string) func(string) string {
	return func(text string) string { return strings.Replace(text, from, to, 1) }
}

// A secret that others may read is refused, and what is in a file that is no key is in no error.
func TestSecrets(t *testing.T) {
	t.Parallel()
	const seed = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
	path := write(t, seed+"\n")
	key, err := config.ReadKey(path)
	if err != nil || len(key) == 0 {
		t.Fatal(err)
	}
	for _, mode := range []os.FileMode{0o640, 0o604, 0o660} {
		if err := os.Chmod(path, mode); err != nil {
			t.Fatal(err)
		}
		if _, err := config.ReadKey(path); err == nil || !strings.Contains(err.Error(), "chmod 600") {
			t.Errorf("mode %o: %v", mode, err)
		}
	}
	for _, content := range []string{"", seed[2:], seed + "00", "z" + seed[1:], strings.Repeat("a", 1<<20)} {
		_, err := config.ReadKey(write(t, content))
		if err == nil || len(content) > 8 && strings.Contains(err.Error(), content[:8]) {
			t.Errorf("%.20q: %v", content, err)
		}
	}
	if _, err := config.ReadSecret(t.TempDir()); err == nil {
		t.Error("a directory is taken for a secret")
	}
}
