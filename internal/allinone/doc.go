// Package allinone runs one installation in one process: the five services, each on its own listener behind mutual TLS, with
// the same interceptors and the same authorization table as five programs have, on an embedded etcd and a SQLite file. It
// is the only package that knows all services. halfkey-dev and halfkeytest are made of it.
package allinone
