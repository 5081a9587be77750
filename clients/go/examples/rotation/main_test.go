package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/dlconf/dlconf/clients/go/internal/daemontest"
)

// The tests run the program itself: this binary, told to be it.
const beTheProgram = "ROTATION_TEST_BE_THE_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(beTheProgram) != "" {
		main()
		return
	}
	os.Exit(m.Run())
}

// The life of a token here, which is also how long a key stays behind.
const tokenLife = 400 * time.Millisecond

// process is one of the programs, running.
type process struct {
	t    *testing.T
	cmd  *exec.Cmd
	out  daemontest.Lines
	base string
}

func startProgram(t *testing.T, environment []string, arguments ...string) *process {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &process{t: t, cmd: exec.Command(self, arguments...)}
	p.cmd.Env = append([]string{beTheProgram + "=1"}, environment...)
	p.cmd.Stdout, p.cmd.Stderr = &p.out, &p.out
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
		if t.Failed() {
			t.Logf("%v said:\n%s", arguments, p.out.String())
		}
	})
	return p
}

// listens waits for its address.
func (p *process) listens() *process {
	p.t.Helper()
	eventually(p.t, "it listens", func() bool {
		_, address, ok := strings.Cut(p.out.String(), "listening ")
		address, _, whole := strings.Cut(address, "\n")
		p.base = "http://" + address
		return ok && whole
	})
	return p
}

// ends tells it to, and waits.
func (p *process) ends() {
	p.t.Helper()
	if err := p.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		p.t.Fatal(err)
	}
	if err := p.cmd.Wait(); err != nil {
		p.t.Errorf("it did not end well: %v\n%s", err, p.out.String())
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

func get(t *testing.T, url, token string) (int, map[string]any) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	req.Header.Set("Authorization", "Bearer "+token)
	client := http.Client{Timeout: 10 * time.Second}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		t.Fatal(err)
	}
	answer := map[string]any{}
	if json.Unmarshal(body, &answer) != nil {
		t.Fatalf("%s: %s", url, body)
	}
	return resp.StatusCode, answer
}

func issue(t *testing.T, base, life string) string {
	t.Helper()
	status, answer := get(t, base+"/issue?life="+life, "")
	if status != http.StatusOK {
		t.Fatalf("issue: %d %v", status, answer)
	}
	return answer["token"].(string)
}

func verify(t *testing.T, base, token string) string {
	t.Helper()
	status, answer := get(t, base+"/verify", token)
	return strings.TrimSpace(fmt.Sprint(status, " ", answer["reason"]))
}

func key(kid, state string) daemontest.Key {
	return daemontest.Key{KID: kid, State: state, Value: value(kid)}
}

func value(kid string) string { return "the-value-of-" + kid + "-which-is-long-enough" }

// fleet are three processes, each behind a daemon of its own, which hears of
// everything later than the one before.
type fleet struct {
	t       *testing.T
	daemons [3]*daemontest.Daemon
	members [3]*process
}

const lag = 25 * time.Millisecond

// say tells all daemons, one after the other.
func (f *fleet) say(keys ...daemontest.Key) {
	for i, d := range f.daemons {
		if i > 0 {
			time.Sleep(lag) // what is tested is that it does not matter
		}
		d.SetKeys("JWT_SECRET", keys...)
	}
}

// acknowledged waits until all of them said that they do this.
func (f *fleet) acknowledged(what string, does func(verifies []string, signs string) bool) {
	f.t.Helper()
	for i, d := range f.daemons {
		eventually(f.t, fmt.Sprintf("%d said that it %s", i, what), func() bool {
			acks := d.Acks()
			if len(acks) == 0 {
				return false
			}
			last := acks[len(acks)-1]
			return last.Consumer == "cc" && last.Instance == fmt.Sprintf("api-%d", i) &&
				does(last.Runs["JWT_SECRET"].Verifies, last.Runs["JWT_SECRET"].Signs)
		})
	}
}

func (f *fleet) addresses() string {
	var all []string
	for _, member := range f.members {
		all = append(all, member.base)
	}
	return strings.Join(all, ",")
}

// finish ends the driver and reads its report.
func finish(t *testing.T, driver *process) report {
	t.Helper()
	driver.ends()
	var seen report
	if err := json.Unmarshal([]byte(driver.out.String()), &seen); err != nil {
		t.Fatalf("%v: %s", err, driver.out.String())
	}
	return seen
}

// Rotations as dlconf writes them, in its own order and with its own waits: nobody
// is logged out, and nobody accepts a key that is retired.
func TestRotationsFailNoToken(t *testing.T) {
	f := &fleet{t: t}
	for i := range f.daemons {
		f.daemons[i] = daemontest.Start()
		defer f.daemons[i].Close()
		f.daemons[i].SetKeys("JWT_SECRET", key("k0", "active"))
		f.members[i] = startProgram(t, nil, "-socket", f.daemons[i].Socket, "-consumer", "cc",
			"-instance", fmt.Sprintf("api-%d", i), "-life", tokenLife.String()).listens()
	}
	driver := startProgram(t, nil, "-drive", f.addresses(), "-rate", "200")

	const rotations = 5
	retired := map[string]float64{}
	for n := 1; n <= rotations; n++ {
		old, fresh := fmt.Sprintf("k%d", n-1), fmt.Sprintf("k%d", n)
		witness := issue(t, f.members[n%3].base, "1h")

		f.say(key(old, "active"), key(fresh, "next"))
		f.acknowledged("verifies with the next key", func(verifies []string, signs string) bool {
			return slices.Contains(verifies, fresh) && signs == old
		})
		// Retired by whoever writes, not before everybody signs with the new one.
		f.say(key(old, "previous"), key(fresh, "active"))
		f.acknowledged("signs with it", func(_ []string, signs string) bool { return signs == fresh })
		for i, member := range f.members {
			if said := verify(t, member.base, witness); said != "200" {
				t.Errorf("%d, without an end: %s", i, said)
			}
		}
		// From now on the end is known, and comes whether a daemon is there or not.
		end := time.Now().Add(tokenLife + 2*lag).Truncate(time.Millisecond)
		before := key(old, "previous")
		before.RetireAfter = &end
		f.say(before, key(fresh, "active"))
		eventually(t, "the last one has heard of it", func() bool {
			_, status := get(t, f.members[2].base+"/status", "")
			return status["version"] == f.daemons[2].Version()
		})
		f.daemons[2].Go()
		f.acknowledgedGone(0, old)
		retired[old] = seconds(end)
		for i, member := range f.members {
			eventually(t, fmt.Sprintf("%d refuses what the retired key signed", i), func() bool {
				return verify(t, member.base, witness) == "401 signature"
			})
			if now := time.Now(); now.Before(end) {
				t.Errorf("%d dropped the key %v before its end", i, end.Sub(now))
			}
		}
		f.daemons[2].Come()
		f.say(key(fresh, "active"))
	}

	seen := finish(t, driver)
	if seen.RefusedValid != 0 || seen.AcceptedAgain != 0 || seen.Unreachable != 0 {
		t.Errorf("people were logged out: %+v", seen)
	}
	if seen.Verified < 200 {
		t.Errorf("too little was asked: %+v", seen)
	}
	for kid, end := range retired {
		l := seen.Kids[kid]
		if l == nil || l.LastAccepted == 0 || l.LastAccepted >= end || !l.RefusedByAll {
			t.Errorf("%s was retired at %.3f: %+v", kid, end, l)
		}
	}
	for _, member := range f.members {
		member.ends()
	}
}

// acknowledgedGone waits until one of them no longer runs a key.
func (f *fleet) acknowledgedGone(i int, gone string) {
	f.t.Helper()
	eventually(f.t, "it says that a key is gone", func() bool {
		acks := f.daemons[i].Acks()
		return !slices.Contains(acks[len(acks)-1].Runs["JWT_SECRET"].Verifies, gone)
	})
}

// Today's API, whose processes are restarted for the new key one after the other:
// what one issued the next refuses, and everybody is logged out in the end.
func TestOneKeyLogsPeopleOut(t *testing.T) {
	f := &fleet{t: t}
	start := func(i int, kid, listen string) {
		f.members[i] = startProgram(t, []string{"JWT_SECRET=" + value(kid)},
			"-single", "JWT_SECRET", "-life", tokenLife.String(), "-listen", listen).listens()
	}
	for i := range f.members {
		start(i, "k0", "127.0.0.1:0")
	}
	logins := []string{issue(t, f.members[0].base, "1h"), issue(t, f.members[2].base, "1h")}
	for _, token := range logins {
		if said := verify(t, f.members[1].base, token); said != "200" {
			t.Fatalf("before: %s", said)
		}
	}
	driver := startProgram(t, nil, "-drive", f.addresses(), "-rate", "200")
	time.Sleep(tokenLife) // it asks while nothing changes, and then meanwhile
	for i := range f.members {
		listen := strings.TrimPrefix(f.members[i].base, "http://")
		f.members[i].ends()
		start(i, "k1", listen)
		if i == 0 {
			fresh := issue(t, f.members[0].base, "1h")
			for at, want := range []string{"200", "401 signature", "401 signature"} {
				if said := verify(t, f.members[at].base, fresh); said != want {
					t.Errorf("a new token, at %d: %s", at, said)
				}
			}
			time.Sleep(tokenLife) // the gap between two restarts: the driver meets it
		}
	}
	for i, member := range f.members {
		for _, token := range logins {
			if said := verify(t, member.base, token); said != "401 signature" {
				t.Errorf("a login from before, at %d: %s", i, said)
			}
		}
	}
	seen := finish(t, driver)
	if seen.RefusedValid == 0 || len(seen.Refused) == 0 || !strings.Contains(seen.Refused[0], signature) {
		t.Errorf("nobody was logged out: %+v", seen)
	}
}

// A wrong order, or an end that comes too early: the driver sees it.
func TestTheDriverSeesWhatIsWrong(t *testing.T) {
	f := &fleet{t: t}
	for i := range f.daemons {
		f.daemons[i] = daemontest.Start()
		defer f.daemons[i].Close()
		f.daemons[i].SetKeys("JWT_SECRET", key("k0", "active"))
		f.members[i] = startProgram(t, nil, "-socket", f.daemons[i].Socket,
			"-instance", fmt.Sprintf("api-%d", i), "-life", "5s").listens()
	}
	driver := startProgram(t, nil, "-drive", f.addresses(), "-rate", "100")
	witness := issue(t, f.members[0].base, "1h")
	// Activated without a stage, and only one of them has heard of it.
	f.daemons[0].SetKeys("JWT_SECRET", key("k0", "previous"), key("k1", "active"))
	eventually(t, "one signs with what nobody knows", func() bool {
		_, status := get(t, f.members[0].base+"/status", "")
		return status["signs"] == "k1"
	})
	fresh := issue(t, f.members[0].base, "5s")
	if said := verify(t, f.members[1].base, fresh); said != "401 signature" {
		t.Errorf("what nobody told it: %s", said)
	}
	// Gone at one of them, and back.
	f.daemons[1].SetKeys("JWT_SECRET", key("k1", "active"))
	eventually(t, "it is gone", func() bool { return verify(t, f.members[1].base, witness) == "401 signature" })
	time.Sleep(20 * round) // the driver's witnesses are asked
	f.daemons[1].SetKeys("JWT_SECRET", key("k0", "previous"), key("k1", "active"))
	eventually(t, "it is back", func() bool { return verify(t, f.members[1].base, witness) == "200" })
	time.Sleep(20 * round)

	seen := finish(t, driver)
	if seen.RefusedValid == 0 || seen.AcceptedAgain == 0 || seen.Kids["k1"] == nil {
		t.Errorf("nothing was seen: %+v", seen)
	}
}

func TestWhatItTells(t *testing.T) {
	d := daemontest.Start()
	defer d.Close()
	d.SetKeys("JWT_SECRET", key("k1", "active"), key("k2", "next"))
	p := startProgram(t, nil, "-socket", d.Socket, "-instance", "api-7c9f").listens()
	eventually(t, "it knows its version", func() bool {
		_, status := get(t, p.base+"/status", "")
		return status["version"] == d.Version()
	})
	_, status := get(t, p.base+"/status", "")
	if fmt.Sprint(status["instance"], status["signs"], status["verifies"], status["error"]) != "api-7c9fk1[k1 k2]none" {
		t.Errorf("status: %v", status)
	}
	token := issue(t, p.base, "50ms")
	eventually(t, "its token is over", func() bool { return verify(t, p.base, token) == "401 expired" })
	for _, token := range []string{"", "x", issue(t, p.base, "1h") + "x"} {
		if said := verify(t, p.base, token); !strings.HasPrefix(said, "401 ") {
			t.Errorf("%q: %s", token, said)
		}
	}
	p.ends()
	if strings.Contains(p.out.String(), value("k1")) || strings.Contains(p.out.String(), value("k2")) {
		t.Errorf("a value was printed:\n%s", p.out.String())
	}
	for _, arguments := range [][]string{{"-single", "JWT_SECRET"}, {"-life", "0s"}, {"-drive", "http://127.0.0.1:1"}, {"-drive", "x,y"}} {
		p := startProgram(t, nil, arguments...)
		if err := p.cmd.Wait(); err == nil || !strings.HasPrefix(p.out.String(), "rotation: ") {
			t.Errorf("%v: %v\n%s", arguments, err, p.out.String())
		}
	}
}
