package dlconf

import (
	"encoding/json"
	"errors"
	"fmt"
	"mime"
	"net/http"
	"strconv"
	"time"
)

// What [errors.Is] tells of an answer. Errors of the way there (no socket, a
// deadline) are none of these; they wrap what the net package says.
var (
	// ErrForbidden: the policy does not let this process have all it asked for.
	ErrForbidden = errors.New("forbidden by the daemon's policy")
	// ErrUnknown: no such variable or consumer, or nothing gives the variable a value.
	ErrUnknown = errors.New("unknown to the daemon")
	// ErrNotReady: the daemon has not published a valid configuration yet.
	ErrNotReady = errors.New("the daemon is not ready")
	// ErrUnavailable: not now, for another reason: too many requests, an audit log
	// that cannot be written. Later, after [Error.RetryAfter], it may be different.
	ErrUnavailable = errors.New("the daemon cannot answer now")
	// ErrNotModified: the configuration is still the one whose ETag was given.
	// It is returned by itself, not as an [Error].
	ErrNotModified = errors.New("dlconf: not modified")
)

// Error is an answer of the daemon that is no success: a problem document of
// RFC 9457. It has no values in it.
type Error struct {
	// Request says what was asked: "GET /v1/config".
	Request string
	// Status is the HTTP status.
	Status int
	// Code is the daemon's name for this kind of problem: "not-ready". Empty if
	// the answer was no problem document.
	Code string
	// Type is the problem's URI, Title its name, Detail this occurrence.
	Type, Title, Detail string
	// RetryAfter is the pause that the daemon asks for; 0 if it does not.
	RetryAfter time.Duration
}

func (e *Error) Error() string {
	text := "dlconf: " + e.Request + ": " + strconv.Itoa(e.Status) + " " + e.Title
	if e.Code != "" {
		text += " (" + e.Code + ")"
	}
	if e.Detail != "" {
		text += ": " + e.Detail
	}
	return text
}

// Is makes [errors.Is] work with the sentinels of this package.
func (e *Error) Is(target error) bool {
	switch target {
	case ErrForbidden:
		return e.Status == http.StatusForbidden
	case ErrUnknown:
		return e.Status == http.StatusNotFound
	case ErrNotReady:
		return e.Status == http.StatusServiceUnavailable && e.Code == codeNotReady
	case ErrUnavailable:
		return e.Status == http.StatusTooManyRequests ||
			e.Status == http.StatusServiceUnavailable && e.Code != codeNotReady
	default:
		return false
	}
}

const codeNotReady = "not-ready"

// problem makes an Error of an answer. The body counts only if it says that it
// is a problem document: whatever else it is, it is not shown.
func problem(subject string, resp *http.Response) error {
	e := &Error{
		Request:    subject,
		Status:     resp.StatusCode,
		Title:      http.StatusText(resp.StatusCode),
		RetryAfter: retryAfter(resp.Header.Get("Retry-After")),
	}
	kind, _, err := mime.ParseMediaType(resp.Header.Get("Content-Type"))
	if err != nil || kind != "application/problem+json" {
		return e
	}
	body, err := readAll(resp, maxProblem)
	if err != nil {
		return e
	}
	var doc struct {
		Type   string `json:"type"`
		Title  string `json:"title"`
		Code   string `json:"code"`
		Detail string `json:"detail"`
	}
	if json.Unmarshal(body, &doc) != nil {
		return e
	}
	e.Type, e.Code, e.Detail = doc.Type, doc.Code, doc.Detail
	if doc.Title != "" {
		e.Title = doc.Title
	}
	return e
}

// retryAfter reads the header's form in seconds, the one that the daemon writes.
func retryAfter(text string) time.Duration {
	seconds, err := strconv.ParseUint(text, 10, 16)
	if err != nil {
		return 0
	}
	return time.Duration(seconds) * time.Second
}

// permanent tells a refusal, which asking again does not change, from trouble
// that passes.
func permanent(err error) bool {
	var e *Error
	if !errors.As(err, &e) {
		return false
	}
	switch e.Status {
	case http.StatusRequestTimeout, http.StatusTooManyRequests:
		return false
	default:
		return e.Status < 500
	}
}

// malformed is an answer that breaks the API's rules; what it says of it is ours.
func malformed(subject, format string, args ...any) error {
	return fmt.Errorf("dlconf: %s: %s", subject, fmt.Sprintf(format, args...))
}
