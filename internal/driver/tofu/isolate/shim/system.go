package shim

// SystemPaths are what programs of a machine need to start, to find hosts and to
// trust certificates. Nothing in them is a secret of a user, and no private key of the
// machine: those lie beside the certificates, in folders that are not listed.
//
// Of /proc, the kernel lets a confined program see the names and arguments of other
// processes, but not their environment, memory, or open files.
func SystemPaths() []string {
	return []string{
		"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix/store", "/gnu/store",
		"/proc", "/sys/devices/system/cpu", "/sys/fs/cgroup", "/sys/kernel/mm/transparent_hugepage",
		"/etc/alternatives", "/etc/ca-certificates", "/etc/crypto-policies", "/etc/gai.conf", "/etc/gitconfig", "/etc/group",
		"/etc/host.conf", "/etc/hostname", "/etc/hosts", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d",
		"/etc/localtime", "/etc/mime.types", "/etc/nsswitch.conf", "/etc/os-release", "/etc/passwd", "/etc/protocols",
		"/etc/resolv.conf", "/etc/services", "/etc/terminfo", "/etc/timezone",
		"/etc/pki/ca-trust", "/etc/pki/tls/cert.pem", "/etc/pki/tls/certs", "/etc/pki/tls/openssl.cnf",
		"/etc/ssl/ca-bundle.pem", "/etc/ssl/cert.pem", "/etc/ssl/certs", "/etc/ssl/openssl.cnf", "/var/lib/ca-certificates",
		"/etc/ssh/ssh_config", "/etc/ssh/ssh_config.d", "/etc/ssh/ssh_known_hosts",
	}
}

// serverPaths hold sockets of the machine's own resolvers of names.
var serverPaths = []string{"/run/nscd", "/var/run/nscd", "/run/systemd/resolve", "/run/resolvconf"}

var devicePaths = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}
