package dlconf

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"time"
)

// Why a token is refused; for [errors.Is].
var (
	// ErrTokenMalformed: it is no signed JSON web token, or none with HS256.
	ErrTokenMalformed = errors.New("dlconf: the token is malformed")
	// ErrTokenSignature: none of the live keys signed it.
	ErrTokenSignature = errors.New("dlconf: no live key signed the token")
	// ErrTokenExpired: its exp is over, or it has none.
	ErrTokenExpired = errors.New("dlconf: the token is expired")
	// ErrTokenNotYet: its nbf is to come.
	ErrTokenNotYet = errors.New("dlconf: the token is not valid yet")
)

// A token travels in a header: more than this is none.
const maxToken = 16 << 10

var tokenEncoding = base64.RawURLEncoding.Strict()

type tokenHeader struct {
	Algorithm string          `json:"alg"`
	Type      string          `json:"typ,omitempty"`
	KeyID     string          `json:"kid,omitempty"`
	Critical  json.RawMessage `json:"crit,omitempty"`
}

// Sign makes a JSON web token (HS256) of claims, which must marshal to a JSON
// object, with the active key, whose kid goes into the header. Give every token
// an exp: a rotated-out key is kept for as long as tokens live, and [KeyRing.Verify]
// takes none without.
func (r *KeyRing) Sign(claims any) (string, error) {
	payload, err := json.Marshal(claims)
	if err != nil {
		return "", fmt.Errorf("dlconf: claims: %w", err)
	}
	if len(payload) == 0 || payload[0] != '{' {
		return "", errors.New("dlconf: claims must be a JSON object")
	}
	r.mu.RLock()
	defer r.mu.RUnlock()
	key, ok := r.signing(r.now())
	if !ok {
		return "", ErrRingClosed
	}
	header, err := json.Marshal(tokenHeader{Algorithm: "HS256", Type: "JWT", KeyID: key.ID})
	if err != nil {
		return "", err
	}
	signed := tokenEncoding.EncodeToString(header) + "." + tokenEncoding.EncodeToString(payload)
	return signed + "." + tokenEncoding.EncodeToString(mac(key.Secret(), signed)), nil
}

// Verify checks a token's signature with every live key, the one of its kid
// first, then its exp, which it must have, and its nbf, and decodes its claims,
// unless they are nil, into what claims points to. Who it was issued for and by
// (aud, iss) is for the caller to look at.
func (r *KeyRing) Verify(token string, claims any) error {
	if len(token) > maxToken {
		return fmt.Errorf("%w: it exceeds %d bytes", ErrTokenMalformed, maxToken)
	}
	end := strings.LastIndexByte(token, '.')
	if end < 0 || strings.Count(token, ".") != 2 {
		return fmt.Errorf("%w: it has not three parts", ErrTokenMalformed)
	}
	if strings.ContainsAny(token, "\r\n") { // which encoding/base64 reads over, strict or not
		return fmt.Errorf("%w: it has a line end", ErrTokenMalformed)
	}
	signed := token[:end]
	head, payload, _ := strings.Cut(signed, ".")
	signature, err := tokenEncoding.DecodeString(token[end+1:])
	if err != nil || len(signature) != sha256.Size {
		return fmt.Errorf("%w: its signature is none of HS256", ErrTokenMalformed)
	}
	var header tokenHeader
	if err := decodePart(head, &header); err != nil {
		return fmt.Errorf("%w: its header", ErrTokenMalformed)
	}
	// The header is the sender's: it may choose among our keys, not the algorithm.
	if header.Algorithm != "HS256" || header.Critical != nil {
		return fmt.Errorf("%w: it is not HS256, or demands an extension", ErrTokenMalformed)
	}
	if err := r.verifyMAC(header.KeyID, signed, signature); err != nil {
		return err
	}

	var times struct {
		Expires   *float64 `json:"exp"`
		NotBefore *float64 `json:"nbf"`
	}
	if err := decodePart(payload, &times); err != nil {
		return fmt.Errorf("%w: its claims", ErrTokenMalformed)
	}
	now := r.now()
	if times.Expires == nil || !now.Before(numericDate(*times.Expires)) {
		return ErrTokenExpired
	}
	if times.NotBefore != nil && now.Before(numericDate(*times.NotBefore)) {
		return ErrTokenNotYet
	}
	if claims == nil {
		return nil
	}
	if err := decodePart(payload, claims); err != nil {
		return fmt.Errorf("%w: its claims are not what the program expects", ErrTokenMalformed)
	}
	return nil
}

func (r *KeyRing) verifyMAC(kid, signed string, signature []byte) error {
	r.mu.RLock()
	defer r.mu.RUnlock()
	if len(r.keys) == 0 {
		return ErrRingClosed
	}
	for _, key := range r.verifying(kid, r.now()) {
		if hmac.Equal(mac(key.Secret(), signed), signature) {
			return nil
		}
	}
	return ErrTokenSignature
}

func mac(key []byte, text string) []byte {
	m := hmac.New(sha256.New, key)
	m.Write([]byte(text))
	return m.Sum(nil)
}

func decodePart(part string, out any) error {
	raw, err := tokenEncoding.DecodeString(part)
	if err != nil {
		return err
	}
	return json.Unmarshal(raw, out)
}

// numericDate is RFC 7519's seconds, with fractions, kept within what
// [time.Time] compares well.
func numericDate(seconds float64) time.Time {
	const most = 1 << 40
	seconds = max(min(seconds, most), -most)
	whole, fraction := math.Modf(seconds)
	return time.Unix(int64(whole), int64(fraction*1e9))
}
