package localkube

import (
	"fmt"
	"net"
	"strconv"
	"time"
)

const loopback = "127.0.0.1"

// portPatience is how long a port may be in use by a process of the last run
// that is just ending, before it is taken to be another program's.
const portPatience = 2 * time.Second

// ports are the ports on the loopback interface that a cluster uses. They are
// kept in the data directory, so that a kubeconfig stays right over a restart.
type ports struct {
	API      int `json:"api"`
	Etcd     int `json:"etcd"`
	EtcdPeer int `json:"etcdPeer"`
}

// settle replaces the ports that are not chosen yet or are taken by others.
func (p *ports) settle() error {
	chosen := []*int{&p.API, &p.Etcd, &p.EtcdPeer}
	var open []net.Listener
	defer func() {
		for _, l := range open {
			l.Close()
		}
	}()
	deadline := time.Now().Add(portPatience)
	for _, port := range chosen {
		l, err := listen(*port, deadline)
		if err != nil {
			return fmt.Errorf("find a free port on %s: %w", loopback, err)
		}
		open = append(open, l) // held until all are chosen, so that they differ
		*port = l.Addr().(*net.TCPAddr).Port
	}
	return nil
}

// listen opens the port, or a free one when it is 0 or stays taken.
func listen(port int, deadline time.Time) (net.Listener, error) {
	for port != 0 {
		l, err := net.Listen("tcp", address(port)) //nolint:noctx // an address without a name is opened at once
		if err == nil {
			return l, nil
		}
		if time.Now().After(deadline) {
			break
		}
		time.Sleep(50 * time.Millisecond)
	}
	return net.Listen("tcp", address(0)) //nolint:noctx // as above
}

func address(port int) string { return net.JoinHostPort(loopback, strconv.Itoa(port)) }

func url(port int) string { return "https://" + address(port) }
