// Package e2e_test tests whole installations, with nothing replaced: what no package can show alone.
//
//   - crash_*: each operation is cut off before and after each call that the gateway makes for it, and repeated. world_test.go has the
//     installation in one process that these use, crash_test.go what they share.
//   - claim_edge, freeze_apart, load, reshare, restore: races, loads and losses of such an installation.
//   - process: an installation that is killed as a process. secrets, nonces, telemetry: what is told, and what never may be.
//   - programs_*: the five programs and etcd, each a process, with their configurations. programs_harness_test.go starts them.
//   - operate_*: docs/operate.md carried out, section by section, on such programs.
//   - compose, a package of its own: docker-compose.yml under podman, by make compose-test.
package e2e_test
