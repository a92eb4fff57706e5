// Outside go.work: it is one half of a comparison with other people's software, which "make x402" runs.
module github.com/halfkey/halfkey/test/x402

go 1.26.3

require github.com/halfkey/halfkey v0.0.0

require filippo.io/edwards25519 v1.2.0 // indirect

replace github.com/halfkey/halfkey => ../..
