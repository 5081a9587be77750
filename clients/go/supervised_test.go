package dlconf

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"os/signal"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dlconf/dlconf/clients/go/internal/daemontest"
)

// asAPI, in the environment, makes of this test binary a program like DataLens's API.
const asAPI = "TEST_AS_DATALENS_API"

// A program that has no client: it reads its environment once, drains at SIGTERM, and
// knows no other signal. No test by itself.
func TestAsDatalensAPI(t *testing.T) {
	if os.Getenv(asAPI) == "" {
		t.Skip("run by TestSupervised")
	}
	level := os.Getenv("APP_LOG_LEVEL")
	told := make(chan os.Signal, 1)
	signal.Notify(told, os.Interrupt, syscall.SIGTERM)
	stopping := make(chan struct{})
	mux := http.NewServeMux()
	mux.HandleFunc("/level", func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, level) })
	// One that is in flight until the program is told to end.
	mux.HandleFunc("/slow", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Println("asked")
		<-stopping
		fmt.Fprint(w, level)
	})
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := &http.Server{Handler: mux}
	go func() { _ = server.Serve(listener) }()
	fmt.Println("listens", listener.Addr())
	<-told
	close(stopping)
	deadline, done := context.WithTimeout(context.Background(), 20*time.Second)
	defer done()
	if err := server.Shutdown(deadline); err != nil {
		t.Fatal(err)
	}
	fmt.Println("drained")
	os.Exit(0)
}

// supervised is such a program under `dlconf run --socket --watch`.
type supervised struct {
	t     *testing.T
	run   *exec.Cmd
	lines daemontest.Lines
}

func supervise(t *testing.T, d *daemontest.Real) *supervised {
	s := &supervised{t: t}
	s.run = exec.Command(os.Getenv(daemontest.BinaryVariable), "run", "--socket", d.Socket, "--watch",
		"--min-interval", "0s", "--", os.Args[0], "-test.run=^TestAsDatalensAPI$")
	s.run.Env = []string{asAPI + "=1", "PATH=" + os.Getenv("PATH"), "HOSTNAME=api-1"}
	s.run.Stdout, s.run.Stderr = &s.lines, &s.lines
	if err := s.run.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.run.Process.Kill() })
	return s
}

// address waits for the start of that number, and gives where that process listens.
func (s *supervised) address(start int) string {
	s.t.Helper()
	s.has("listens ", start)
	line := strings.Split(s.lines.String(), "listens ")[start]
	return "http://" + line[:strings.IndexByte(line, '\n')]
}

func (s *supervised) has(text string, count int) {
	s.t.Helper()
	eventually(s.t, fmt.Sprintf("%q, %d times", text, count), func() bool {
		return strings.Count(s.lines.String(), text) >= count
	})
}

func get(url string) (string, error) {
	answer, err := http.Get(url)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	return string(body), err
}

func (s *supervised) level(start int, expected string) {
	s.t.Helper()
	if level, err := get(s.address(start) + "/level"); err != nil || level != expected {
		s.t.Errorf("start %d: %q %v", start, level, err)
	}
}

// slowly asks for what is answered only while the program drains.
func (s *supervised) slowly(start, asked int) <-chan string {
	s.t.Helper()
	answers, url := make(chan string, 1), s.address(start)+"/slow"
	go func() {
		answer, err := get(url)
		if err != nil {
			answer = "cut"
		}
		answers <- answer
	}()
	s.has("asked\n", asked)
	return answers
}

func TestSupervised(t *testing.T) {
	d := daemontest.StartReal(t, oneKey, info, hidden)
	s := supervise(t, d)
	defer func() {
		if t.Failed() {
			t.Logf("the program and its supervisor:\n%s\nthe daemon:\n%s", s.lines.String(), d.Log())
		}
	}()

	// A change restarts it; what is in flight is answered by the old one.
	s.level(1, "info")
	inFlight := s.slowly(1, 1)
	d.WriteEnv(oneKey, warn, hidden)
	if answer := <-inFlight; answer != "info" {
		t.Errorf("in flight: %q", answer)
	}
	s.level(2, "warn")

	// What is invalid, and what it may not read, restart nothing: what comes after does.
	d.WriteEnv(oneKey, "APP_LOG_LEVEL=loud", hidden)
	eventually(t, "the refusal", func() bool { return strings.Contains(d.Log(), "is not published") })
	d.WriteEnv(oneKey, warn, "APP_SECRET_KEY=Another1"+value(hidden))
	eventually(t, "its publication", func() bool { return strings.Contains(d.Log(), "changed: APP_SECRET_KEY") })
	d.WriteEnv(oneKey, info, hidden)
	s.level(3, "info")
	if starts := strings.Count(s.lines.String(), "listens "); starts != 3 {
		t.Errorf("%d starts", starts)
	}

	// It ends as the program does, which drains.
	inFlight = s.slowly(3, 2)
	_ = s.run.Process.Signal(syscall.SIGTERM)
	if answer := <-inFlight; answer != "info" {
		t.Errorf("in flight at the end: %q", answer)
	}
	if err := s.run.Wait(); err != nil || strings.Count(s.lines.String(), "drained") != 3 {
		t.Errorf("the end: %v", err)
	}
}

// What docs/run.md warns of: no drain at SIGHUP, which is passed on.
func TestSupervisedHangup(t *testing.T) {
	s := supervise(t, daemontest.StartReal(t, oneKey, info))
	inFlight := s.slowly(1, 1)
	_ = s.run.Process.Signal(syscall.SIGHUP)
	if answer := <-inFlight; answer != "cut" {
		t.Errorf("in flight: %q", answer)
	}
	var exit *exec.ExitError
	if err := s.run.Wait(); !errors.As(err, &exit) || exit.ExitCode() != 128+int(syscall.SIGHUP) {
		t.Errorf("the end: %v", err)
	}
}
