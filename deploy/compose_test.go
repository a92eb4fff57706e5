// Package deploy_test holds the files beside it, and docker-compose.yml, to what they promise, where no containers run.
package deploy_test

import (
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"
)

// service is one of docker-compose.yml.
type service struct {
	User        string    `yaml:"user"`
	ReadOnly    bool      `yaml:"read_only"`
	Privileged  bool      `yaml:"privileged"`
	CapAdd      []string  `yaml:"cap_add"`
	CapDrop     []string  `yaml:"cap_drop"`
	SecurityOpt []string  `yaml:"security_opt"`
	NetworkMode string    `yaml:"network_mode"`
	Ports       []string  `yaml:"ports"`
	Volumes     []string  `yaml:"volumes"`
	Build       build     `yaml:"build"`
	Healthcheck yaml.Node `yaml:"healthcheck"`
}

type build struct {
	Dockerfile string `yaml:"dockerfile"`
	Target     string `yaml:"target"`
}

// Each program has what it needs and nothing more.
func TestComposeLeastPrivilege(t *testing.T) {
	b, err := os.ReadFile("../docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Name     string             `yaml:"name"`
		Services map[string]service `yaml:"services"`
	}
	if err := yaml.Unmarshal(b, &file); err != nil {
		t.Fatal(err)
	}
	if file.Name != "" {
		t.Error("docker-compose 1.29 refuses a file with a name")
	}
	const from = "${HALFKEY_DIR:-./installation}/"
	mounts := map[string][]string{
		"etcd":       {from + "etcd-tls:/etc/etcd:ro", "etcd:/var/lib/etcd"},
		"etcd-users": {from + "etcd-root:/etc/halfkey/etcd-root:ro"},
		"identity":   {from + "identity:/etc/halfkey:ro"},
		"policy":     {from + "policy:/etc/halfkey:ro"},
		"cosigner":   {from + "cosigner:/etc/halfkey:ro"},
		"ledger":     {from + "ledger:/etc/halfkey:ro", "ledger:/var/lib/halfkey"},
		"gateway":    {from + "gateway:/etc/halfkey:ro"},
	}
	if len(file.Services) != len(mounts) {
		t.Errorf("%d services, want %d", len(file.Services), len(mounts))
	}
	for name, s := range file.Services {
		t.Run(name, func(t *testing.T) {
			if s.User != "${HALFKEY_USER:-65532:65532}" || !s.ReadOnly || s.Privileged || len(s.CapAdd) > 0 || s.NetworkMode != "" ||
				!slices.Equal(s.CapDrop, []string{"ALL"}) || !slices.Equal(s.SecurityOpt, []string{"no-new-privileges"}) {
				t.Errorf("runs with %+v", s)
			}
			if diff := cmp.Diff(mounts[name], s.Volumes); diff != "" {
				t.Errorf("mounts (-want +got):\n%s", diff)
			}
			for _, port := range s.Ports {
				if name != "gateway" || !strings.HasPrefix(port, "127.0.0.1:") {
					t.Errorf("publishes %s, want the gateway's on loopback alone", port)
				}
			}
			target := name
			if name == "etcd-users" {
				target = "halfkey-dev"
			} else if s.Healthcheck.IsZero() {
				t.Error("has no health check")
			}
			if s.Build.Target != target || s.Build.Dockerfile != "${HALFKEY_DOCKERFILE:-deploy/Dockerfile}" {
				t.Errorf("is built from %+v", s.Build)
			}
		})
	}
}

// Both Dockerfiles make the same images: one program each on nothing, as a user who owns nothing.
func TestDockerfilesAgree(t *testing.T) {
	images := func(file, from string) string {
		t.Helper()
		b, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, made, found := strings.Cut(string(b), "FROM scratch AS base\nUSER 65532:65532\n")
		if !found {
			t.Fatalf("%s makes no image from nothing for 65532", file)
		}
		return strings.ReplaceAll(made, "COPY "+from, "COPY ")
	}
	built, prebuilt := images("Dockerfile", "--from=build /out/"), images("Dockerfile.prebuilt", "bin/images/")
	if diff := cmp.Diff(built, prebuilt); diff != "" {
		t.Errorf("images differ (-Dockerfile +Dockerfile.prebuilt):\n%s", diff)
	}
	target := regexp.MustCompile(`(?m)^FROM base AS (\S+)\nCOPY (\S+) /(\S+)\n(?:COPY data/(\S+)/ /\n)?ENTRYPOINT \["/(\S+)"\]$`)
	var names []string
	for _, m := range target.FindAllStringSubmatch(built, -1) {
		names = append(names, m[1])
		if m[2] != m[1] || m[3] != m[1] || m[5] != m[1] || m[4] != "" && m[4] != m[1] {
			t.Errorf("the image of %s holds something else:\n%s", m[1], m[0])
		}
	}
	want := []string{"gateway", "identity", "policy", "ledger", "cosigner", "etcd", "halfkey-dev"}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("images (-want +got):\n%s", diff)
	}
	if strings.Count(built, "FROM ") != len(want) || strings.Contains(built, "USER") || strings.Contains(built, "RUN") {
		t.Errorf("there is more than these images:\n%s", built)
	}
}
