package e2e_test

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/rand"
	"crypto/x509"
	"encoding/hex"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc"

	"github.com/halfkey/halfkey/client"
	"github.com/halfkey/halfkey/halfkeytest"
	"github.com/halfkey/halfkey/internal/canary"
	"github.com/halfkey/halfkey/internal/evidence"
	"github.com/halfkey/halfkey/internal/fault"
	cosignerv1 "github.com/halfkey/halfkey/proto/gen/halfkey/cosigner/v1"
	identityv1 "github.com/halfkey/halfkey/proto/gen/halfkey/identity/v1"
	typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"
)

// listening takes what passes between gateway and services and nobody else may see: the signatures of tokens, which make them tokens,
// and the shares that the co-signer releases.
type listening struct {
	mu          sync.Mutex
	secrets     canary.Secrets
	commitments [][]byte // The agent's, of requests that the co-signer was shown.
	broken      bool     // The co-signer does not answer.
}

func (l *listening) wrap(service string, conn grpc.ClientConnInterface) grpc.ClientConnInterface {
	return heard{conn, l, service}
}

type heard struct {
	grpc.ClientConnInterface
	l       *listening
	service string
}

func (h heard) Invoke(ctx context.Context, method string, req, resp any, options ...grpc.CallOption) error {
	h.l.mu.Lock()
	if r, ok := req.(*identityv1.AuthenticateRequest); ok {
		for _, s := range r.GetToken().GetSignatures() {
			h.l.secrets.Add(fmt.Sprintf("token %d", len(h.l.secrets)), s.GetSignature())
		}
	}
	if r, ok := req.(*cosignerv1.ReleaseRequest); ok {
		request := new(typev1.Request)
		if err := evidence.Peek(r.GetRequest(), request); err == nil {
			h.l.commitments = append(h.l.commitments, request.GetCommitment())
		}
	}
	broken := h.l.broken && h.service == "cosigner"
	h.l.mu.Unlock()
	if broken {
		return fault.Caused(errors.New("no route to the host"), typev1.Reason_REASON_UNAVAILABLE, movedNo, "the co-signer does not answer")
	}
	err := h.ClientConnInterface.Invoke(ctx, method, req, resp, options...)
	if r, ok := resp.(*cosignerv1.ReleaseResponse); ok && err == nil {
		h.l.mu.Lock()
		defer h.l.mu.Unlock()
		release := r.GetRelease()
		h.l.secrets.Add(fmt.Sprintf("release %d", len(h.l.secrets)), release[len(release)-32:])
	}
	return err
}

func (l *listening) breakOff(is bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.broken = is
}

// addFile adds what a file of an installation keeps secret, in whichever form it does.
func addFile(t *testing.T, secrets canary.Secrets, dir, name string) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(dir, name))
	if err != nil {
		t.Fatal(err)
	}
	if block, _ := pem.Decode(b); block != nil {
		key, err := x509.ParsePKCS8PrivateKey(block.Bytes)
		if err != nil {
			t.Fatal(err)
		}
		switch key := key.(type) {
		case ed25519.PrivateKey:
			secrets.Add(name, key.Seed())
		case *ecdsa.PrivateKey:
			d, err := key.Bytes()
			if err != nil {
				t.Fatal(err)
			}
			secrets.Add(name, d)
		default:
			t.Fatalf("%s has a %T, which this test does not know", name, key)
		}
		return
	}
	text := string(bytes.TrimSpace(b))
	if seed, err := hex.DecodeString(text); err == nil {
		secrets.Add(name, seed)
		return
	}
	if filepath.Base(name) == "bootstrap.code" {
		secrets.Add(name, []byte(text))
		return
	}
	var keyset struct {
		Key []struct {
			KeyData struct{ Value []byte }
		}
	}
	if err := json.Unmarshal(b, &keyset); err != nil || len(keyset.Key) == 0 {
		t.Fatalf("%s has no secret in a form that this test knows: %v", name, err)
	}
	value := keyset.Key[0].KeyData.Value
	secrets.Add(name, value[len(value)-32:]) // The key is the last field.
}

// TestNoSecretIsTold runs payments, refusals and failures, and looks for every secret of theirs in all that was told meanwhile: the logs of
// all services down to debugging, the clients' and services' spans, the metrics and the errors.
func TestNoSecretIsTold(t *testing.T) {
	o := observe(t)
	l := &listening{secrets: make(canary.Secrets)}
	dir := filepath.Join(t.TempDir(), "installation")
	s := halfkeytest.Start(t, append(o.options(), halfkeytest.WithDir(dir), halfkeytest.WithWrap(l.wrap))...)
	ctx, cancel := context.WithTimeout(t.Context(), 4*callMax)
	defer cancel()

	// What is planted before it is used.
	for _, name := range []string{"cosigner.key", "policy.key", "ledger.key", "operator.key", "ca.key", "kek.json"} {
		addFile(t, l.secrets, dir, name)
	}
	bootstrap := s.BootstrapCode()
	l.secrets.Add("bootstrap code", []byte(bootstrap))
	passphrase, wrong := []byte("canary "+rand.Text()), []byte("no canary "+rand.Text())
	l.secrets.Add("passphrase", passphrase[7:])
	l.secrets.Add("wrong passphrase", wrong[10:])
	purpose := "purpose " + rand.Text()
	l.secrets.Add("purpose", []byte(purpose[8:]))

	var told []string // Errors.
	fails := func(what string, err error) {
		t.Helper()
		if err == nil {
			t.Errorf("%s does not fail", what)
			return
		}
		told = append(told, fmt.Sprintf("%v %+v %#v", err, err, fault.Of(err)))
		var e *client.Error
		if errors.As(err, &e) {
			told = append(told, fmt.Sprintf("%v %s", e.Metadata, e.Next))
		}
	}

	_, err := s.Client(s.Home()).CreateOwner(ctx, bootstrap[:len(bootstrap)-1]+"!", halfkeytest.Email)
	fails("a wrong bootstrap code", err)
	owner := s.Owner()
	_, err = s.Client(s.Home()).CreateOwner(ctx, bootstrap, halfkeytest.Email)
	fails("a used bootstrap code", err)

	token := s.Token()
	var minted struct {
		Seed []byte `json:"seed"`
	}
	if err := json.Unmarshal(token, &minted); err != nil {
		t.Fatal(err)
	}
	l.secrets.Add("enrolment token", minted.Seed)
	home := s.Home()
	payer, err := enrolled(ctx, s, home, token)
	if err != nil {
		t.Fatal(err)
	}
	_, err = enrolled(ctx, s, s.Home(), token)
	fails("a used enrolment token", err)
	shop := s.Agent("Shop")
	recipient := shop.GroupKey()
	l.secrets.Add("recipient", recipient[:])
	s.GuardRails(payer, client.StandardRules(shop.GroupKey()))
	s.Fund(payer, funds)
	for _, h := range []struct {
		what string
		home *client.Home
	}{{"agent", home}, {"owner", s.OwnerHome()}} {
		if err := l.secrets.AddHome(h.what, h.home.Dir()); err != nil {
			t.Fatal(err)
		}
	}

	order := func(id string, units int64) client.Order {
		return client.Order{ID: id, Recipient: shop.Wallet(), Units: units, Purpose: purpose}
	}
	random := draws.while(func() {
		for id, units := range map[string]int64{"green": usd, "yellow": 6 * usd, "red": 200 * usd} {
			if _, err := payer.Pay(ctx, order(id, units)); err != nil {
				t.Fatal(err)
			}
		}
		if _, err := owner.Approve(ctx, payer.Wallet()+"/payments/yellow"); err != nil {
			t.Fatal(err)
		}
		if p, err := payer.Wait(ctx, "yellow"); err != nil || p.State != settled {
			t.Fatalf("yellow: %v, %v", p, err)
		}
	})
	l.mu.Lock()
	addNonces(t, l.secrets, random, l.commitments)
	l.mu.Unlock()
	_, err = payer.Pay(ctx, order("green", 2*usd))
	fails("another payment of the same id", err)
	stranger := order("stranger", 2*usd)
	stranger.Recipient = hex.EncodeToString(l.secrets["operator.key"]) // A mistake that people make.
	_, err = payer.Pay(ctx, stranger)
	fails("a payment to nobody", err)
	l.breakOff(true)
	_, err = payer.Pay(ctx, order("broken", usd))
	fails("a payment without the co-signer", err)
	l.breakOff(false)
	if p, err := payer.Resume(ctx, "broken"); err != nil || p.State != settled {
		t.Fatalf("broken: %v, %v", p, err)
	}
	file := filepath.Join(t.TempDir(), "recovery")
	if _, err := owner.CreateRecovery(ctx, payer.Wallet(), file, bytes.Clone(passphrase)); err != nil {
		t.Fatal(err)
	}
	if _, err := payer.Reshare(ctx); err != nil {
		t.Fatal(err)
	}
	_, err = owner.OpenRecovery(ctx, file, bytes.Clone(wrong))
	fails("a wrong passphrase", err)
	if _, err := owner.OpenRecovery(ctx, file, bytes.Clone(passphrase)); err != nil {
		t.Fatal(err)
	}
	if err := l.secrets.AddHome("agent with new share", home.Dir()); err != nil {
		t.Fatal(err)
	}
	if _, err := payer.Freeze(ctx, "stop"); err != nil {
		t.Fatal(err)
	}
	_, err = payer.Pay(ctx, order("frozen", usd))
	fails("a payment of a frozen wallet", err)
	s.Kill() // Everything that is told at the end is told.
	o.flush(t)

	l.mu.Lock()
	defer l.mu.Unlock()
	search := func(where, text string, mustHave ...string) {
		t.Helper()
		for _, known := range mustHave {
			if !strings.Contains(text, known) {
				t.Errorf("%s does not have %q: it is not what this test takes it for", where, known)
			}
		}
		for _, found := range l.secrets.In(text) {
			t.Errorf("%s: %s", where, found)
		}
	}
	search("the log", o.log.String(), "CosignerService/Release", "cosigner", `"reason":"FROZEN"`, "no route to the host")
	var spans strings.Builder
	for _, span := range o.spans.Ended() {
		fmt.Fprintf(&spans, "%s %+v %+v %+v %+v %+v\n",
			span.Name(), span.Attributes(), span.Events(), span.Links(), span.Status(), span.Resource().Attributes())
	}
	search("a span", spans.String(), payer.Wallet()+"/payments/green", "5 co-signer", "7 settlement", "FROZEN")
	for service := range o.services {
		search("the metrics of "+string(service), o.metrics(t, service), "rpc_server_call_duration_seconds")
	}
	search("an error", strings.Join(told, "\n"), "FROZEN", "UNAVAILABLE")
	for _, what := range []string{"agent: ", "owner: ", "token ", "release ", "randomness ", "nonce ", "kek.json", "ca.key", "operator.key"} {
		if !l.has(what) {
			t.Errorf("nothing that begins with %q was looked for", what)
		}
	}
}

// enrolled registers an agent on a home by an owner's token.
func enrolled(ctx context.Context, s *halfkeytest.System, home *client.Home, token client.Secret) (*client.Agent, error) {
	c := s.Client(home)
	r, err := c.Register(ctx, client.RegisterOptions{Name: "Payer", EnrolmentToken: token})
	if err != nil {
		return nil, err
	}
	return c.Agent(r.Wallet)
}

func (l *listening) has(prefix string) bool {
	for what := range l.secrets {
		if strings.HasPrefix(what, prefix) {
			return true
		}
	}
	return false
}

// TestProgramsTellNoSecret looks for every key of a deployment in what its processes show of themselves: their arguments, their
// environment, all that they log, their metrics, and what they say of a key that is broken.
func TestProgramsTellNoSecret(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithTimeout(t.Context(), 2*comesUp)
	defer cancel()
	s := newSite(t)
	secrets := make(canary.Secrets)
	err := filepath.WalkDir(s.made.Dir, func(path string, _ os.DirEntry, err error) error {
		name, _ := filepath.Rel(s.made.Dir, path)
		if err == nil && (filepath.Ext(name) == ".key" || name == "bootstrap.code" || filepath.Base(name) == "kek.json") {
			addFile(t, secrets, s.made.Dir, name)
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(secrets) < 15 { // Five programs with a key for TLS, three statement keys, operator, authority, key-encryption key and more.
		t.Fatalf("found %d secrets", len(secrets))
	}
	for _, p := range s.programs {
		plain := p.command
		p.command = func(args ...string) *exec.Cmd {
			cmd := plain(args...)
			cmd.Args = append(cmd.Args, "--log-level=debug")
			return cmd
		}
	}
	s.up()
	people := s.people(ctx, t, 1)
	people.pay(ctx, t, 0, "first")
	if _, err := people.payers[0].Freeze(ctx, "stop"); err != nil {
		t.Fatal(err)
	}
	if _, err := people.payers[0].Pay(ctx, people.order("frozen")); client.ReasonOf(err) != typev1.Reason_REASON_FROZEN {
		t.Fatalf("a frozen wallet pays: %v", err)
	}
	search := func(where, text, mustHave string) {
		t.Helper()
		if !strings.Contains(text, mustHave) {
			t.Errorf("%s does not have %q: it is not what this test takes it for", where, mustHave)
		}
		for _, found := range secrets.In(text) {
			t.Errorf("%s: %s", where, found)
		}
	}
	for name, p := range s.programs {
		for _, file := range []string{"cmdline", "environ"} {
			if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/%s", p.cmd.Process.Pid, file)); err == nil {
				search(name+"'s "+file, string(b), map[string]string{"cmdline": "--log-level=debug", "environ": "="}[file])
			} else if runtime.GOOS == "linux" {
				t.Error(err)
			}
		}
		_, metrics := p.get("/metrics")
		search(name+"'s metrics", metrics, "rpc_server_call_duration_seconds")
		p.kill()
		search(name+"'s log", p.logs.String(), `"msg":"call"`)
	}
	for _, name := range []string{"policy", "ledger", "cosigner"} {
		key := filepath.Join(s.made.Dir, name, "statement.key")
		write(t, key, strings.TrimSpace(read(t, key))[:63]+"x\n")
		code, stdout, stderr := s.programs[name].run("check")
		if code == 0 {
			t.Errorf("%s takes a broken key", name)
		}
		search(name+"'s check", stdout+stderr, "statement.key")
	}
}
