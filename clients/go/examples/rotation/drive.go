package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strings"
	"sync"
	"time"
)

// How many wrongs are told in words; all are counted.
const told = 10

// Rounds of witnesses, and how long a witness lives: longer than any rotation.
const (
	round       = 20 * time.Millisecond
	witnessLife = "1h"
)

// report is what the driver saw. Times are seconds since 1970.
type report struct {
	// Issued tokens, and how often one was judged.
	Issued, Verified int
	// RefusedValid were refused although their time was not over: people who were
	// logged out. Refused says of the first of them who, and why.
	RefusedValid int
	Refused      []string
	// AcceptedAgain counts yeses to a key that the same process had refused before.
	AcceptedAgain int
	// Unreachable are requests without an answer: a process that restarts.
	Unreachable int
	// Kids are all that signed anything, but for tokens that name none.
	Kids map[string]*life
}

// life is what became of one key. Nobody may accept it when it is retired: a
// token that outlives it (a witness) shows whether somebody does.
type life struct {
	// FirstSigned and LastSigned: when the driver got its tokens.
	FirstSigned, LastSigned float64
	// LastAccepted is when the last question began whose answer was yes.
	LastAccepted float64
	// RefusedByAll tells whether every process refuses it now.
	RefusedByAll bool

	witness string
	refused map[string]time.Time // by process: since when
}

// driver asks the processes.
type driver struct {
	members []string
	client  *http.Client

	mu     sync.Mutex
	report report
}

// drive has tokens issued by one process verified by another, at once and again
// when most of their life is over, until the context ends. Then it prints its
// report.
func drive(ctx context.Context, o options, out io.Writer) error {
	d := &driver{report: report{Refused: []string{}, Kids: map[string]*life{}}}
	for member := range strings.SplitSeq(o.drive, ",") {
		if u, err := url.Parse(member); err != nil || u.Scheme != "http" || u.Host == "" {
			return fmt.Errorf("%q is no http URL", member)
		}
		d.members = append(d.members, member)
	}
	if len(d.members) < 2 || o.rate < 2 {
		return errors.New("that takes two processes and -rate 2, or more")
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute}
	defer transport.CloseIdleConnections()
	d.client = &http.Client{Transport: transport, Timeout: 5 * time.Second}
	if o.lasts > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeout(ctx, o.lasts)
		defer cancel()
	}

	var asking sync.WaitGroup
	asking.Add(1)
	go func() {
		defer asking.Done()
		d.watchWitnesses(ctx)
	}()
	// Each token is verified twice.
	ticks := time.NewTicker(2 * time.Second / time.Duration(o.rate))
	defer ticks.Stop()
	room := make(chan struct{}, 4*o.rate)
	for n := 0; ctx.Err() == nil; n++ {
		select {
		case <-ctx.Done():
			continue
		case <-ticks.C:
		}
		select {
		case room <- struct{}{}:
		default:
			continue // they do not keep up: less is asked, never more at once
		}
		asking.Add(1)
		go func() {
			defer asking.Done()
			defer func() { <-room }()
			d.oneToken(ctx, n)
		}()
	}
	asking.Wait()
	encoder := json.NewEncoder(out)
	encoder.SetIndent("", "  ")
	return encoder.Encode(&d.report)
}

// oneToken has a token issued by one process and verified by the others: every
// pair of them comes in turn.
func (d *driver) oneToken(ctx context.Context, n int) {
	many := len(d.members)
	issuer := n % many
	token, kid, ok := d.issue(ctx, issuer, "")
	if !ok {
		return
	}
	var times claims
	if part(token, 1, &times) != nil {
		return
	}
	d.signed(ctx, issuer, kid)
	first := (issuer + 1 + n/many%(many-1)) % many
	d.judge(ctx, first, issuer, token, kid, times)
	// Again in the second half of its life, with some of it left to ask in.
	left := times.Expires - seconds(time.Now())
	late := time.Duration(left * (0.5 + rand.Float64()*0.4) * float64(time.Second))
	timer := time.NewTimer(max(late, 0))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return
	case <-timer.C:
	}
	d.judge(ctx, rand.IntN(many), issuer, token, kid, times)
}

// judge verifies a token and counts what is wrong with the answer.
func (d *driver) judge(ctx context.Context, member, issuer int, token, kid string, times claims) {
	began := time.Now()
	accepted, why, ok := d.verify(ctx, member, token)
	if !ok {
		return
	}
	// Refused, and even now it would be valid.
	left := times.Expires - seconds(time.Now())
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report.Verified++
	if accepted {
		if l := d.report.Kids[kid]; l != nil {
			l.LastAccepted = max(l.LastAccepted, seconds(began))
		}
		return
	}
	if left <= 0 {
		return
	}
	d.report.RefusedValid++
	if len(d.report.Refused) < told {
		d.report.Refused = append(d.report.Refused, fmt.Sprintf(
			"at %.3f process %d refused what process %d had signed with %q, %.3f s before its end: %s",
			seconds(began), member, issuer, kid, left, why))
	}
}

// signed notes a key that signs, and gets a witness of it.
func (d *driver) signed(ctx context.Context, issuer int, kid string) {
	if kid == "" {
		return
	}
	now := seconds(time.Now())
	d.mu.Lock()
	l, known := d.report.Kids[kid]
	if !known {
		l = &life{FirstSigned: now, refused: map[string]time.Time{}}
		d.report.Kids[kid] = l
	}
	l.LastSigned = max(l.LastSigned, now)
	wanted := l.witness == ""
	d.mu.Unlock()
	if !wanted {
		return
	}
	token, of, ok := d.issue(ctx, issuer, witnessLife)
	if !ok || of != kid {
		return // another key signs by now
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	l.witness = token
}

// watchWitnesses asks every process for every key, as long as one accepts it; of
// the keys that are gone, for one in each round.
func (d *driver) watchWitnesses(ctx context.Context) {
	ticks := time.NewTicker(round)
	defer ticks.Stop()
	for n := 0; ctx.Err() == nil; n++ {
		var asked, gone []*life
		d.mu.Lock()
		for _, l := range d.report.Kids {
			switch {
			case l.witness == "":
			case l.RefusedByAll:
				gone = append(gone, l)
			default:
				asked = append(asked, l)
			}
		}
		d.mu.Unlock()
		if len(gone) > 0 {
			asked = append(asked, gone[rand.IntN(len(gone))])
		}
		for _, l := range asked {
			for member := range d.members {
				d.askForWitness(ctx, l, member)
			}
		}
		select {
		case <-ctx.Done():
		case <-ticks.C:
		}
	}
}

func (d *driver) askForWitness(ctx context.Context, l *life, member int) {
	began := time.Now()
	accepted, _, ok := d.verify(ctx, member, l.witness)
	if !ok {
		return
	}
	at := d.members[member]
	d.mu.Lock()
	defer d.mu.Unlock()
	if !accepted {
		if _, known := l.refused[at]; !known {
			l.refused[at] = time.Now()
		}
		l.RefusedByAll = len(l.refused) == len(d.members)
		return
	}
	l.LastAccepted = max(l.LastAccepted, seconds(began))
	if since, known := l.refused[at]; known && began.After(since) {
		d.report.AcceptedAgain++
		delete(l.refused, at)
		l.RefusedByAll = false
	}
}

func (d *driver) issue(ctx context.Context, member int, lasting string) (token, kid string, ok bool) {
	path := "/issue"
	if lasting != "" {
		path += "?life=" + lasting
	}
	var answer struct{ Token, Kid string }
	status, err := d.ask(ctx, d.members[member]+path, "", &answer)
	if err != nil || status != http.StatusOK {
		d.unreachable(ctx)
		return "", "", false
	}
	if lasting == "" {
		d.mu.Lock()
		defer d.mu.Unlock()
		d.report.Issued++
	}
	return answer.Token, answer.Kid, true
}

func (d *driver) verify(ctx context.Context, member int, token string) (accepted bool, why string, ok bool) {
	var answer struct{ Reason string }
	status, err := d.ask(ctx, d.members[member]+"/verify", token, &answer)
	if err != nil || status != http.StatusOK && status != http.StatusUnauthorized {
		d.unreachable(ctx)
		return false, "", false
	}
	return status == http.StatusOK, answer.Reason, true
}

func (d *driver) unreachable(ctx context.Context) {
	if ctx.Err() != nil {
		return // it was we who ended
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.report.Unreachable++
}

func (d *driver) ask(ctx context.Context, address, token string, out any) (int, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	if err != nil {
		return 0, err
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	resp, err := d.client.Do(req)
	if err != nil {
		return 0, err
	}
	defer resp.Body.Close()
	return resp.StatusCode, json.NewDecoder(io.LimitReader(resp.Body, 64<<10)).Decode(out)
}
