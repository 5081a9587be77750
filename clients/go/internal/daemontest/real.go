package daemontest

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// BinaryVariable names the environment variable with the path of the dlconf
// binary; tests against the real daemon are skipped without it.
const BinaryVariable = "DLCONF_TEST_BINARY"

// Consumer is one that the real daemon knows.
const Consumer = "cc"

const patience = 30 * time.Second

// Real is a real daemon, in a folder of its own, of one dotenv source. Its policy
// gives this user APP_LOG_LEVEL, APP_PORT, CORS_*, DB_* and JWT_*.
type Real struct {
	// Socket is where it listens.
	Socket string

	t       testing.TB
	binary  string
	dir     string
	process *exec.Cmd
	ended   chan struct{}
}

const realSettings = `
environment = "development"
service = "cc"
order = ["local"]

[source.local]
type = "dotenv"
path = ".env"

[socket]
path = "dlconf.sock"
mode = "0600"
policy = "access.toml"

[debounce]
min = "20ms"
max = "200ms"
`

const realPolicy = `
[[allow]]
uid = %d
vars = ["APP_LOG_LEVEL", "APP_PORT", "CORS_*", "DB_*", "JWT_*"]
actions = ["read", "watch", "acknowledge"]
`

// StartReal starts the daemon with a .env of these lines, and ends it with the
// test. It skips the test where there is no binary.
func StartReal(t testing.TB, lines ...string) *Real {
	t.Helper()
	binary := os.Getenv(BinaryVariable)
	if binary == "" {
		t.Skipf("%s is not set", BinaryVariable)
	}
	dir, err := os.MkdirTemp("", "dlconf-go-") // t.TempDir's paths are too long for a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	r := &Real{Socket: filepath.Join(dir, "dlconf.sock"), t: t, binary: binary, dir: dir}
	r.write("dlconf.toml", realSettings)
	r.write("access.toml", fmt.Sprintf(realPolicy, os.Getuid()))
	r.WriteEnv(lines...)
	t.Cleanup(r.Stop)
	r.Start()
	return r
}

// write exchanges a file, as editors and deployments do.
func (r *Real) write(name, text string) {
	r.t.Helper()
	path := filepath.Join(r.dir, name)
	if err := os.WriteFile(path+".new", []byte(text), 0o600); err != nil {
		r.t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		r.t.Fatal(err)
	}
}

// WriteEnv exchanges the .env.
func (r *Real) WriteEnv(lines ...string) {
	r.t.Helper()
	r.write(".env", strings.Join(lines, "\n")+"\n")
}

// Start starts the daemon and waits until it listens.
func (r *Real) Start() {
	r.t.Helper()
	log, err := os.OpenFile(filepath.Join(r.dir, "log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		r.t.Fatal(err)
	}
	defer log.Close()
	r.process = exec.Command(r.binary, "--config", filepath.Join(r.dir, "dlconf.toml"), "daemon")
	r.process.Dir = r.dir
	r.process.Env = []string{"PATH=" + os.Getenv("PATH")}
	r.process.Stderr = log
	if err := r.process.Start(); err != nil {
		r.t.Fatal(err)
	}
	ended := make(chan struct{})
	r.ended = ended
	process := r.process
	go func() {
		_ = process.Wait()
		close(ended)
	}()
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		conn, err := net.Dial("unix", r.Socket)
		if err == nil {
			_ = conn.Close()
			return
		}
		select {
		case <-ended:
			r.t.Fatalf("the daemon ended; its log:\n%s", r.Log())
		default:
		}
		if time.Now().After(deadline) {
			r.t.Fatalf("the daemon does not listen: %v; its log:\n%s", err, r.Log())
		}
	}
}

// Stop ends the daemon and waits for its end.
func (r *Real) Stop() {
	if r.process == nil || r.process.Process == nil {
		return
	}
	_ = r.process.Process.Signal(syscall.SIGTERM)
	select {
	case <-r.ended:
	case <-time.After(patience):
		_ = r.process.Process.Kill()
		<-r.ended
		r.t.Errorf("the daemon did not end at SIGTERM; its log:\n%s", r.Log())
	}
	r.process = nil
}

// Restart is Stop and Start.
func (r *Real) Restart() {
	r.t.Helper()
	r.Stop()
	r.Start()
}

// Log is what the daemon wrote to stderr.
func (r *Real) Log() string {
	text, err := os.ReadFile(filepath.Join(r.dir, "log"))
	if err != nil {
		return err.Error()
	}
	return string(text)
}

// Lines collects what a process prints, for tests that wait for it.
type Lines struct {
	mu   sync.Mutex
	text strings.Builder
}

func (l *Lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *Lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.String()
}
