package httpjson

import (
	"os"
	"regexp"
	"strconv"
	"testing"

	"github.com/halfkey/halfkey/internal/fault"
)

// TestErrorsDocument: docs/errors.md gives the status of every reason.
func TestErrorsDocument(t *testing.T) {
	page, err := os.ReadFile("../../docs/errors.md")
	if err != nil {
		t.Fatal(err)
	}
	documented := make(map[string]string)
	for _, row := range regexp.MustCompile("(?m)^\\| `([A-Z_]+)` \\| [A-Z_]+ \\| ([0-9]{3}) \\|").FindAllStringSubmatch(string(page), -1) {
		documented[row[1]] = row[2]
	}
	for reason, status := range statuses {
		if got, want := documented[fault.ReasonName(reason)], strconv.Itoa(status); got != want {
			t.Errorf("%s: docs/errors.md says %q, the table %s", fault.ReasonName(reason), got, want)
		}
	}
}
