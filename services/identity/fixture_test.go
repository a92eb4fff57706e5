package identity_test

import (
	"os"
	"testing"
	"time"

	"github.com/halfkey/halfkey/internal/servicetest"
)

func TestMain(m *testing.M) { os.Exit(servicetest.WithEtcd(m)) }

// start is when tests begin.
var start = time.Date(2026, 3, 2, 12, 0, 0, 0, time.UTC)
