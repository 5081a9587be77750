package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dlconf/dlconf/clients/go/internal/daemontest"
)

// The tests run the program itself: this binary, told to be it.
const beTheProgram = "DATALENS_TEST_BE_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(beTheProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

func program(t *testing.T, arguments ...string) *exec.Cmd {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(t.Context(), self, arguments...)
	cmd.Env = []string{beTheProgram + "=1"}
	return cmd
}

const secret = "Zk3vX9pQ7tL2mN8wR4yU6sB1hJ5cD0gFaEiOxTqVnKzMbWrPlYu"

func checkOnce(t *testing.T, socket string) {
	t.Helper()
	out, err := program(t, "-once", "-socket", socket, "-consumer", daemontest.Consumer, "-instance", "api-1").CombinedOutput()
	text := string(out)
	if err != nil {
		t.Fatalf("%v\n%s", err, text)
	}
	for _, line := range []string{"variable APP_LOG_LEVEL", "variable JWT_SECRET", "signs initial", "verifies initial", "acknowledged cc api-1"} {
		if !strings.Contains(text, line+"\n") {
			t.Errorf("no line %q in\n%s", line, text)
		}
	}
	if strings.Contains(text, secret) || strings.Contains(text, "warn") {
		t.Errorf("a value was printed:\n%s", text)
	}
}

func TestOnce(t *testing.T) {
	d := daemontest.Start()
	defer d.Close()
	d.Publish(map[string]string{"JWT_SECRET": secret, "APP_LOG_LEVEL": "warn"})
	checkOnce(t, d.Socket)
	if acks := d.Acks(); len(acks) != 1 || acks[0].Runs["JWT_SECRET"].Signs != "initial" {
		t.Errorf("acknowledged %v", acks)
	}

	d.Refuse("/v1/config", http.StatusForbidden, "not-permitted")
	out, err := program(t, "-once", "-socket", d.Socket).CombinedOutput()
	if err == nil || !strings.Contains(string(out), "not-permitted") {
		t.Errorf("refused: %v\n%s", err, out)
	}
}

func TestOnceWithTheDaemon(t *testing.T) {
	checkOnce(t, daemontest.StartReal(t, "JWT_SECRET="+secret, "APP_LOG_LEVEL=warn").Socket)
}

// A rotation and a reload, while it serves: nobody is logged out, and it is never
// restarted.
func TestServes(t *testing.T) {
	d := daemontest.Start()
	defer d.Close()
	values := map[string]string{"JWT_SECRET": secret, "APP_LOG_LEVEL": "info", "APP_PORT": "0", "CORS_ALLOWED_ORIGINS": "https://one.example"}
	d.Publish(values)
	d.SetKeys("JWT_SECRET", daemontest.Key{KID: "k1", State: "active", Value: secret})
	var log daemontest.Lines
	cmd := program(t, "-socket", d.Socket, "-consumer", "cc", "-instance", "api-1")
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.Cancel = func() error { return cmd.Process.Signal(syscall.SIGKILL) }
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	defer func() {
		_ = cmd.Process.Kill()
		if t.Failed() {
			t.Log(log.String())
		}
	}()
	var base string
	eventually(t, "it listens", func() bool {
		_, address, ok := strings.Cut(log.String(), "msg=listening address=")
		address, _, whole := strings.Cut(address, " ")
		base = "http://" + address
		return ok && whole
	})

	token := login(t, base)
	next := daemontest.Key{KID: "k2", State: "next", Value: "of-k2-" + secret}
	d.SetKeys("JWT_SECRET", daemontest.Key{KID: "k1", State: "active", Value: secret}, next)
	eventually(t, "it says that it verifies with the next key", acknowledged(d, "[k1 k2]", "k1"))
	next.State = "active"
	d.SetKeys("JWT_SECRET", daemontest.Key{KID: "k1", State: "previous", Value: secret}, next)
	eventually(t, "it says that it signs with it", acknowledged(d, "[k2 k1]", "k2"))
	if status := me(t, base, token); status != http.StatusOK {
		t.Errorf("the token of the key before: %d", status)
	}
	if status := me(t, base, login(t, base)); status != http.StatusOK {
		t.Errorf("a new token: %d", status)
	}
	if status := me(t, base, token+"x"); status != http.StatusUnauthorized {
		t.Errorf("a broken token: %d", status)
	}

	values["JWT_SECRET"] = next.Value
	values["CORS_ALLOWED_ORIGINS"] = "https://two.example"
	values["DB_HOST"] = "elsewhere"
	d.Publish(values)
	eventually(t, "the origins are others", func() bool { return allows(t, base, "https://two.example") })
	if allows(t, base, "https://one.example") {
		t.Errorf("the origin before is still allowed")
	}
	eventually(t, "it says what waits for a restart", func() bool {
		return strings.Contains(log.String(), "takes effect at the next start") && strings.Contains(log.String(), "variable=DB_HOST")
	})

	if err := cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	if err := cmd.Wait(); err != nil {
		t.Errorf("it ended with %v", err)
	}
	if text := log.String(); strings.Contains(text, secret) || strings.Contains(text, "elsewhere") {
		t.Errorf("a value was logged:\n%s", text)
	}
}

func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
	}
}

func acknowledged(d *daemontest.Daemon, verifies, signs string) func() bool {
	return func() bool {
		acks := d.Acks()
		if len(acks) == 0 {
			return false
		}
		run := acks[len(acks)-1].Runs["JWT_SECRET"]
		return fmt.Sprint(run.Verifies) == verifies && run.Signs == signs
	}
}

func ask(t *testing.T, method, url string, header http.Header) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	t.Cleanup(cancel)
	req, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header = header
	resp, err := http.DefaultClient.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = resp.Body.Close() })
	return resp
}

func login(t *testing.T, base string) string {
	t.Helper()
	var answer struct{ Token string }
	if err := json.NewDecoder(ask(t, http.MethodPost, base+"/login", nil).Body).Decode(&answer); err != nil {
		t.Fatal(err)
	}
	return answer.Token
}

func me(t *testing.T, base, token string) int {
	t.Helper()
	return ask(t, http.MethodGet, base+"/me", http.Header{"Authorization": {"Bearer " + token}}).StatusCode
}

func allows(t *testing.T, base, origin string) bool {
	t.Helper()
	resp := ask(t, http.MethodGet, base+"/healthz", http.Header{"Origin": {origin}})
	return resp.Header.Get("Access-Control-Allow-Origin") == origin
}

func TestLoader(t *testing.T) {
	values := map[string]string{"APP_PORT": "9090", "DB_PORT": "5432x", "DB_CONN_MAX_LIFETIME": "300", "JWT_ACCESS_TOKEN_EXPIRY": "1h",
		"CORS_ALLOWED_ORIGINS": "a, b", "DB_HOST": ""}
	got := load(func(name string) (string, bool) { v, ok := values[name]; return v, ok })
	want := config{
		Env: "development", Port: 9090, LogLevel: "debug", DBHost: "localhost", DBPort: 5432, DBMaxOpenConns: 25,
		DBConnMaxLifetime: 5 * time.Minute, AccessTokenExpiry: time.Hour, AllowedOrigins: []string{"a", " b"},
	}
	if fmt.Sprintf("%#v", got) != fmt.Sprintf("%#v", want) {
		t.Errorf("got %#v", got)
	}
}
