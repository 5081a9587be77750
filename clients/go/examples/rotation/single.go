package main

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"strings"
	"time"

	"github.com/dlconf/dlconf/clients/go"
)

// oneKey is DataLens's API of today: the value of an environment variable at the
// start of the process, for as long as that lives. It knows no kid.
type oneKey string

var encoding = base64.RawURLEncoding

// Sign makes a token whose header names no key.
func (k oneKey) Sign(claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", err
	}
	signed := encoding.EncodeToString([]byte(`{"alg":"HS256","typ":"JWT"}`)) + "." + encoding.EncodeToString(payload)
	return signed + "." + encoding.EncodeToString(k.mac(signed)), nil
}

// Verify checks with the one key, whatever the header says.
func (k oneKey) Verify(token string, _ any) error {
	end := strings.LastIndexByte(token, '.')
	if strings.Count(token, ".") != 2 {
		return dlconf.ErrTokenMalformed
	}
	mac, err := encoding.DecodeString(token[end+1:])
	if err != nil {
		return dlconf.ErrTokenMalformed
	}
	if !hmac.Equal(mac, k.mac(token[:end])) {
		return dlconf.ErrTokenSignature
	}
	var c claims
	if part(token, 1, &c) != nil {
		return dlconf.ErrTokenMalformed
	}
	if c.Expires <= seconds(time.Now()) {
		return dlconf.ErrTokenExpired
	}
	return nil
}

// Status has no names: the process does not know what its key is called.
func (k oneKey) Status() dlconf.RingStatus {
	return dlconf.RingStatus{Run: dlconf.Run{Verifies: []string{}}}
}

func (k oneKey) mac(text string) []byte {
	m := hmac.New(sha256.New, []byte(k))
	m.Write([]byte(text))
	return m.Sum(nil)
}

// part decodes one part of a token, without judging it.
func part(token string, at int, out any) error {
	parts := strings.Split(token, ".")
	if at >= len(parts) {
		return dlconf.ErrTokenMalformed
	}
	raw, err := encoding.DecodeString(parts[at])
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

// kid is the one that a token's header names; empty where it names none.
func kid(token string) string {
	var header struct {
		ID string `json:"kid"`
	}
	_ = part(token, 0, &header)
	return header.ID
}
