package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"path/filepath"
	"time"

	"github.com/halfkey/halfkey/internal/allinone"
)

// certsCommand is `halfkey-dev certs`.
type certsCommand struct {
	Dir     string   `arg:"" type:"path" help:"Where everything is made: the installation with its authority and keys, and in it a directory for each program."`
	Gateway string   `default:"localhost:8443" help:"The gateway's gRPC address as clients reach it, host:port; an installation that is there keeps its own."`
	HTTPS   string   `name:"https" default:"localhost:8444" help:"The same for HTTP and JSON."`
	Etcd    []string `default:"etcd,localhost,127.0.0.1" help:"The hosts that etcd answers on."`
	User    int      `help:"The user id that the programs run as, who is given their files; needs the right to give them."`
}

// Run makes what is missing, and fresh certificates.
func (c *certsCommand) Run() error {
	for flag, address := range map[string]string{"--gateway": c.Gateway, "--https": c.HTTPS} {
		host, port, err := net.SplitHostPort(address)
		if err != nil || host == "" || port == "" || port == "0" {
			return fmt.Errorf("%s %s: want host:port as clients reach it, such as localhost:8443", flag, address)
		}
	}
	if c.User < 0 {
		return errors.New("--user: want a user id")
	}
	d := allinone.Deployment{Dir: c.Dir, Gateway: c.Gateway, HTTPS: c.HTTPS, EtcdHosts: c.Etcd, User: c.User}
	if err := d.Make(time.Now()); err != nil {
		return err
	}
	fmt.Printf("%s holds one installation:\n", c.Dir)
	fmt.Println("  installation.json      what clients connect with")
	fmt.Println("  bootstrap.code         what the first owner is made with, once")
	fmt.Println("  operator.key           issues and redeems book money, replaces service keys")
	second := d.SecondOperatorKey()
	if second != "" {
		fmt.Println("  offline/operator-2.key does the same: take it offline now, and delete it here")
	}
	fmt.Println("  ca.key                 makes certificates for development; they are good for 90 days, and this command makes new ones")
	fmt.Println("  gateway/ identity/ policy/ ledger/ cosigner/ etcd-tls/   what each program needs, and nothing more")
	fmt.Println("  etcd-root/             what makes the services' users in etcd: halfkey-dev etcd-users takes it, no program does")
	fmt.Println("\nAny one operator's key signs. Whoever has lost the last one can never again issue or redeem book money, replace a service's")
	fmt.Println("key, accept a ledger's loss, or end a freeze of the installation. So two are made, and the second is kept where neither fire")
	fmt.Println("nor thief of the first gets it.")
	if second != "" {
		fmt.Printf("It is still here: %s\n", second)
	}
	return nil
}

// etcdUsersCommand is `halfkey-dev etcd-users`.
type etcdUsersCommand struct {
	Dir       string        `arg:"" type:"path" help:"What halfkey-dev certs has made."`
	Endpoints []string      `default:"localhost:2379" help:"The members of etcd."`
	Timeout   time.Duration `default:"1m" help:"How long to wait for etcd."`
}

// Run gives each service its user.
func (c *etcdUsersCommand) Run(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, c.Timeout)
	defer cancel()
	if err := (allinone.Deployment{Dir: filepath.Clean(c.Dir)}).MakeEtcdUsers(ctx, c.Endpoints); err != nil {
		return err
	}
	fmt.Println("Each service has a user of its own in etcd, and nobody else is let in.")
	return nil
}
