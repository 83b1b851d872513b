package localkube

import (
	"path/filepath"
	"strings"
)

const serviceRange = "10.96.0.0/16"

// etcdArguments: one member that talks TLS on the loopback interface, and only
// to clients with a certificate of its own authority.
func (c *Cluster) etcdArguments() []string {
	peer, client := url(c.stamp.Ports.EtcdPeer), url(c.stamp.Ports.Etcd)
	args := []string{
		"--name=plumb",
		"--data-dir=" + filepath.Join(c.opts.DataDir, "etcd"),
		"--listen-client-urls=" + client,
		"--advertise-client-urls=" + client,
		"--listen-peer-urls=" + peer,
		"--initial-advertise-peer-urls=" + peer,
		"--initial-cluster=plumb=" + peer,
		"--client-cert-auth",
		"--cert-file=" + c.pki.cert("etcd"),
		"--key-file=" + c.pki.key("etcd"),
		"--trusted-ca-file=" + c.pki.cert("etcd-ca"),
		"--peer-client-cert-auth",
		"--peer-cert-file=" + c.pki.cert("etcd"),
		"--peer-key-file=" + c.pki.key("etcd"),
		"--peer-trusted-ca-file=" + c.pki.cert("etcd-ca"),
		"--enable-grpc-gateway=false",
		"--log-level=warn",
		"--quota-backend-bytes=8589934592",
		// One member has no vote to wait for.
		"--heartbeat-interval=100",
		"--election-timeout=500",
	}
	if c.opts.UnsafeNoFsync {
		args = append(args, "--unsafe-no-fsync")
	}
	return args
}

func (c *Cluster) apiServerArguments() []string {
	return []string{
		"--etcd-servers=" + url(c.stamp.Ports.Etcd),
		"--etcd-cafile=" + c.pki.cert("etcd-ca"),
		"--etcd-certfile=" + c.pki.cert("etcd-client"),
		"--etcd-keyfile=" + c.pki.key("etcd-client"),
		"--bind-address=" + loopback,
		"--advertise-address=" + loopback,
		"--secure-port=" + portOf(c.stamp.Ports.API),
		"--tls-cert-file=" + c.pki.cert("apiserver"),
		"--tls-private-key-file=" + c.pki.key("apiserver"),
		"--client-ca-file=" + c.pki.cert("ca"),
		"--service-account-issuer=https://kubernetes.default.svc.cluster.local",
		"--service-account-key-file=" + c.pki.serviceAccountPublic(),
		"--service-account-signing-key-file=" + c.pki.key("service-account"),
		"--service-cluster-ip-range=" + serviceRange,
		"--authorization-mode=RBAC",
		"--allow-privileged=true",
		// Nobody reaches the API server through the Service "kubernetes": no
		// pod really runs, and a loopback address is no valid endpoint.
		"--endpoint-reconciler-type=none",
		// A simulated node is made ready without the node lifecycle
		// controller, which would have to take the taint away again.
		"--disable-admission-plugins=TaintNodesByCondition",
		"--shutdown-delay-duration=0s",
		"--profiling=false",
		"--audit-policy-file=" + c.auditPolicyFile(),
		"--audit-log-path=" + c.AuditLog(),
		"--audit-log-maxsize=16", // MB
		"--audit-log-maxbackup=4",
		"--audit-log-maxage=30", // days
	}
}

func (c *Cluster) controllerManagerArguments() []string {
	return []string{
		"--kubeconfig=" + c.componentKubeconfig("controller-manager"),
		"--use-service-account-credentials=true",
		"--service-account-private-key-file=" + c.pki.key("service-account"),
		"--root-ca-file=" + c.pki.cert("ca"),
		"--cluster-signing-cert-file=" + c.pki.cert("ca"),
		"--cluster-signing-key-file=" + c.pki.key("ca"),
		"--controllers=" + strings.Join(controllers(), ","),
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
		"--profiling=false",
	}
}

// controllers are all the default ones but those that need real machines or
// measurements of them: they watch, write and keep memory for nothing.
func controllers() []string {
	return []string{
		"*",
		"-node-ipam-controller",
		"-node-lifecycle-controller",
		"-ttl-controller",
		"-persistentvolume-attach-detach-controller",
		"-persistentvolume-expander-controller",
		"-horizontal-pod-autoscaler-controller",
	}
}

func (c *Cluster) schedulerArguments() []string {
	return []string{
		"--kubeconfig=" + c.componentKubeconfig("scheduler"),
		"--leader-elect=false",
		"--secure-port=0",
		"--kube-api-qps=500",
		"--kube-api-burst=1000",
		"--profiling=false",
	}
}

func (c *Cluster) kwokArguments() []string {
	return []string{"--kubeconfig=" + c.componentKubeconfig("kwok")}
}

func (c *Cluster) componentKubeconfig(name string) string {
	return filepath.Join(c.opts.DataDir, "config", name+".kubeconfig")
}
