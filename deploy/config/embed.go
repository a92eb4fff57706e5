// Package config holds a commented configuration file of each program. The compose file mounts them as they are, and
// halfkey-dev certs writes them beside the keys that they name.
package config

import "embed"

// Files are identity.yaml, policy.yaml, ledger.yaml, cosigner.yaml and gateway.yaml, and halfkey-dev.yaml for all of them in one process.
//
//go:embed *.yaml
var Files embed.FS
