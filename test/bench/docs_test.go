package bench

import (
	"fmt"
	"os"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestPageHasTheTable holds docs/performance.md to the table of signatures, to the hops, and to the durable writes.
func TestPageHasTheTable(t *testing.T) {
	page, err := os.ReadFile("../../docs/performance.md")
	if err != nil {
		t.Fatal(err)
	}
	rows := func(heading string) (rows []string) {
		_, section, found := strings.Cut(string(page), "\n"+heading+"\n")
		if !found {
			t.Fatalf("no heading %q", heading)
		}
		for line := range strings.Lines(section) {
			line = strings.TrimSpace(line)
			if strings.HasPrefix(line, "#") {
				break
			}
			if strings.HasPrefix(line, "| ") {
				rows = append(rows, line)
			}
		}
		return rows[1:]
	}
	var want []string
	for _, s := range Signatures() {
		does := "makes"
		if s.Verified {
			does = "verifies"
		}
		want = append(want, fmt.Sprintf("| %s | %s | %s | %d | %s |", s.By, does, s.Over, s.Count, s.Evidence))
	}
	if diff := cmp.Diff(want, rows("### Signatures")); diff != "" {
		t.Errorf("the page's signatures (-table +page):\n%s", diff)
	}

	var reads float64
	for _, n := range readsPerPayment() {
		reads += n
	}
	got := rows("### Hops, reads and durable writes")
	for i, begins := range []string{
		fmt.Sprintf("| hop: a call over mutual TLS | %d |", len(hops())),
		fmt.Sprintf("| linearizable read of etcd | %g |", reads),
		fmt.Sprintf("| durable transaction of the ledger | %d alone", transactionsPerPayment),
		"| durable write of etcd | 0 |",
		fmt.Sprintf("| durable file of the agent | %d |", agentFilesPerPayment),
	} {
		if i >= len(got) || !strings.HasPrefix(got[i], begins) {
			t.Errorf("row %d does not begin with %q", i+1, begins)
		}
	}
}
