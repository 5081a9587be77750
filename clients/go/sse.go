package dlconf

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"time"
)

// The most that one event of the stream may hold. A change of 10,000 names has
// some 300 KiB.
const maxEvent = 1 << 20

var errEventTooLarge = errors.New("an event of the stream exceeds 1 MiB")

// event is one dispatched event of a text/event-stream.
type event struct {
	// id is the stream's last id so far: an event without one keeps the one before.
	id   string
	name string
	data []byte
}

// eventReader reads server-sent events as the HTML standard says: lines end with
// LF, CR or CRLF, an empty line dispatches, an event that the end cuts off does
// not count. Its memory is bounded by maxEvent, whatever comes.
type eventReader struct {
	in *bufio.Reader
	// retry is the pause that the stream asked for; 0 until it does.
	retry   time.Duration
	id      string
	afterCR bool
	begun   bool
	line    []byte
}

func newEventReader(in io.Reader) *eventReader {
	return &eventReader{in: bufio.NewReaderSize(in, 4<<10)}
}

// next returns the next event that has data. Its data is the caller's. At the
// end of the stream it is io.EOF, also in the middle of an event.
func (r *eventReader) next() (event, error) {
	var name string
	var data []byte
	hasData := false
	id := r.id
	for {
		line, err := r.readLine(maxEvent - len(data))
		if err != nil {
			return event{}, err
		}
		if len(line) == 0 {
			r.id = id
			if !hasData {
				name = ""
				continue
			}
			return event{id: id, name: name, data: data}, nil
		}
		field, value, _ := bytes.Cut(line, []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(field) {
		case "": // a comment
		case "data":
			if hasData {
				data = append(data, '\n')
			}
			hasData = true
			data = append(data, value...)
		case "id":
			if !bytes.ContainsRune(value, 0) {
				id = string(value)
			}
		case "event":
			name = string(value)
		case "retry":
			if ms, err := strconv.ParseUint(string(value), 10, 31); err == nil {
				r.retry = time.Duration(ms) * time.Millisecond
			}
		}
	}
}

// readLine returns a line without its end, valid until the next call.
func (r *eventReader) readLine(limit int) ([]byte, error) {
	r.line = r.line[:0]
	for {
		// At least one byte is there after Peek; the rest of the buffer comes free.
		if _, err := r.in.Peek(1); err != nil {
			return nil, err
		}
		chunk, _ := r.in.Peek(r.in.Buffered())
		if r.afterCR {
			r.afterCR = false
			if chunk[0] == '\n' { // the rest of a CRLF, whose CR ended the line at once
				_, _ = r.in.Discard(1)
				continue
			}
		}
		end := bytes.IndexAny(chunk, "\r\n")
		taken := chunk
		if end >= 0 {
			taken = chunk[:end]
		}
		if len(r.line)+len(taken) > limit {
			return nil, errEventTooLarge
		}
		r.line = append(r.line, taken...)
		if end < 0 {
			_, _ = r.in.Discard(len(chunk))
			continue
		}
		r.afterCR = chunk[end] == '\r'
		_, _ = r.in.Discard(end + 1)
		if !r.begun {
			r.begun = true
			r.line = bytes.TrimPrefix(r.line, []byte("\xef\xbb\xbf"))
		}
		return r.line, nil
	}
}

// String says what may be said of an event.
func (e event) String() string {
	return fmt.Sprintf("event %q of %d bytes", e.id, len(e.data))
}
