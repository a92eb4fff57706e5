package fault

import typev1 "github.com/halfkey/halfkey/proto/gen/halfkey/type/v1"

// pure maps the errors of the packages that decide from values alone; nil for any other.
func pure(err error, moved typev1.MoneyMoved) *Fault { return nil }
