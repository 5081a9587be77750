package dlconf

import (
	"bytes"
	"errors"
	"io"
	"reflect"
	"strings"
	"testing"
	"testing/iotest"
	"time"
)

// readEvents reads a whole stream.
func readEvents(in io.Reader) (events []event, retry time.Duration, err error) {
	r := newEventReader(in)
	for {
		e, err := r.next()
		if err != nil {
			return events, r.retry, err
		}
		events = append(events, e)
	}
}

func TestEventStream(t *testing.T) {
	for name, test := range map[string]struct {
		stream string
		want   []event
	}{
		"one":                      {"id: 1\ndata: a\n\n", []event{{id: "1", data: []byte("a")}}},
		"CRLF":                     {"id: 1\r\ndata: a\r\n\r\n", []event{{id: "1", data: []byte("a")}}},
		"CRLF ends one line":       {"event: x\r\ndata: a\r\ndata: b\r\n\r\n", []event{{name: "x", data: []byte("a\nb")}}},
		"CR":                       {"id: 1\rdata: a\r\r", []event{{id: "1", data: []byte("a")}}},
		"no space":                 {"id:1\ndata:a\n\n", []event{{id: "1", data: []byte("a")}}},
		"only one space goes":      {"data:  a\n\n", []event{{data: []byte(" a")}}},
		"byte order mark":          {"\xef\xbb\xbfdata: a\n\n", []event{{data: []byte("a")}}},
		"lines of data":            {"data: a\ndata: b\n\n", []event{{data: []byte("a\nb")}}},
		"empty data counts":        {"data\n\n", []event{{data: nil}}},
		"comments":                 {": ping\n\n:\ndata: a\n: in between\n\n", []event{{data: []byte("a")}}},
		"name":                     {"event: x\ndata: a\n\ndata: b\n\n", []event{{name: "x", data: []byte("a")}, {data: []byte("b")}}},
		"a name without data":      {"event: x\n\ndata: b\n\n", []event{{data: []byte("b")}}},
		"id stays":                 {"id: 1\ndata: a\n\ndata: b\n\n", []event{{id: "1", data: []byte("a")}, {id: "1", data: []byte("b")}}},
		"id without data counts":   {"id: 1\n\ndata: b\n\n", []event{{id: "1", data: []byte("b")}}},
		"id with NUL does not":     {"id: 1\x00\ndata: b\n\n", []event{{data: []byte("b")}}},
		"unknown fields":           {"colour: red\ndata: a\nnonsense\n\n", []event{{data: []byte("a")}}},
		"cut before the last line": {"data: a\n\nid: 2\ndata: b\n", []event{{data: []byte("a")}}},
		"cut in a line":            {"data: a\n\ndata: b", []event{{data: []byte("a")}}},
		"nothing":                  {"", nil},
	} {
		t.Run(name, func(t *testing.T) {
			for _, in := range []io.Reader{strings.NewReader(test.stream), iotest.OneByteReader(strings.NewReader(test.stream))} {
				got, _, err := readEvents(in)
				if !errors.Is(err, io.EOF) {
					t.Errorf("ended with %v", err)
				}
				if !equalEvents(got, test.want) {
					t.Errorf("got %q, want %q", got, test.want)
				}
			}
		})
	}
}

func equalEvents(a, b []event) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i].id != b[i].id || a[i].name != b[i].name || !bytes.Equal(a[i].data, b[i].data) {
			return false
		}
	}
	return true
}

func TestEventStreamRetry(t *testing.T) {
	for stream, want := range map[string]time.Duration{
		"retry: 1000\n\n":                 time.Second,
		"retry: 1e3\n\n":                  0,
		"retry: -5\n\n":                   0,
		"retry: 99999999999999999999\n\n": 0,
	} {
		if _, got, _ := readEvents(strings.NewReader(stream)); got != want {
			t.Errorf("%q gives %v, want %v", stream, got, want)
		}
	}
}

// An event is there with its empty line: a reader that waited for the byte after
// a CR would tell of each change one change late.
func TestEventIsNotHeldBack(t *testing.T) {
	for _, stream := range []string{"data: a\n\n", "data: a\r\r", "data: a\r\n\r\n"} {
		in, out := io.Pipe()
		go func() { _, _ = out.Write([]byte(stream)) }() // and stays open
		got := make(chan error, 1)
		go func() {
			_, err := newEventReader(in).next()
			got <- err
		}()
		select {
		case err := <-got:
			if err != nil {
				t.Errorf("%q: %v", stream, err)
			}
		case <-time.After(10 * time.Second):
			t.Errorf("%q: held back", stream)
		}
		_ = in.Close()
	}
}

// endless is a stream that repeats and never ends.
type endless struct{ text string }

func (e endless) Read(p []byte) (int, error) {
	n := 0
	for n < len(p) {
		n += copy(p[n:], e.text)
	}
	return n, nil
}

func TestEventsAreBounded(t *testing.T) {
	for name, in := range map[string]io.Reader{
		"one line":      endless{"x"},
		"lines of data": endless{"data: xxxxxxxxxxxxxxxxxxxxxxxxxxx\n"},
		"a comment":     io.MultiReader(strings.NewReader(":"), endless{"y"}),
	} {
		if _, err := newEventReader(in).next(); !errors.Is(err, errEventTooLarge) {
			t.Errorf("%s: %v", name, err)
		}
	}
	// What is allowed passes.
	large := strings.Repeat("z", maxEvent-len("data: "))
	got, _, _ := readEvents(strings.NewReader("data: " + large + "\n\n"))
	if len(got) != 1 || string(got[0].data) != large {
		t.Errorf("an event of the largest size is lost")
	}
}

func FuzzEventStream(f *testing.F) {
	for _, seed := range []string{
		"retry: 1000\n\n: ping\n\nid: 7f3a.42\ndata: {\"version\":\"7f3a.42\",\"changed\":[\"A\"]}\n\n",
		"id: 1\r\ndata: a\r\n\r\ndata: b\r\r\n\n", "\xef\xbb\xbf\xef\xbb\xbfdata:a\n\n", "data\ndata\n\n",
		"id\n\nid:\x00\nevent:x\rdata:\r\r", "::::\n\r\n\r", "retry:\nretry: 5\n\n",
	} {
		f.Add([]byte(seed), uint8(3))
	}
	f.Fuzz(func(t *testing.T, stream []byte, cut uint8) {
		whole, retry, err := readEvents(bytes.NewReader(stream))
		if !errors.Is(err, io.EOF) && !errors.Is(err, errEventTooLarge) {
			t.Fatalf("ended with %v", err)
		}
		// How the bytes arrive makes no difference.
		slowly, retrySlowly, errSlowly := readEvents(iotest.OneByteReader(bytes.NewReader(stream)))
		if !reflect.DeepEqual(whole, slowly) || retry != retrySlowly || !errors.Is(errSlowly, err) {
			t.Fatalf("in one: %q, byte by byte: %q", whole, slowly)
		}
		// A stream that is cut gives a beginning of the events, and no half one.
		part, _, _ := readEvents(bytes.NewReader(stream[:len(stream)*int(cut)/256]))
		if len(part) > len(whole) || !equalEvents(part, whole[:len(part)]) {
			t.Fatalf("cut: %q of %q", part, whole)
		}
		for _, e := range whole {
			if len(e.data) > maxEvent || strings.ContainsAny(e.id, "\r\n\x00") {
				t.Fatalf("no id, or too much: %v", e)
			}
		}
	})
}
