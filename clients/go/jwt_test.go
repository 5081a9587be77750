package dlconf

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"math"
	"strings"
	"testing"
	"time"
)

// loneRing is a ring without a daemon.
func loneRing(t *testing.T, now time.Time, keys ...Key) *KeyRing {
	t.Helper()
	ring := newKeyRing(New(""), jwtKey)
	ring.now = func() time.Time { return now }
	if err := ring.apply(keys); err != nil {
		t.Fatal(err)
	}
	return ring
}

// The example of RFC 7515, A.1.
func TestVerifyRFC7515(t *testing.T) {
	const token = "eyJ0eXAiOiJKV1QiLA0KICJhbGciOiJIUzI1NiJ9" +
		".eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ" +
		".dBjftJeZ4CVP-mB92K27uhbUJU1p1r_wW1gFWFOEjXk"
	secret, err := base64.RawURLEncoding.DecodeString("AyM1SysPpbyDfgZld3umj1qzKObwVMkoqQ-EstJQLr_T-1qS0gZH75aKtMN3Yj0iPS4hcgUuTwjAzZr1Z9CAow")
	if err != nil {
		t.Fatal(err)
	}
	key := Key{ID: "initial", State: KeyActive, secret: seal(secret)}
	var claims struct {
		Issuer string `json:"iss"`
	}
	expiry := time.Unix(1300819380, 0)
	if err := loneRing(t, expiry.Add(-time.Second), key).Verify(token, &claims); err != nil || claims.Issuer != "joe" {
		t.Errorf("%v %v", claims, err)
	}
	if err := loneRing(t, expiry, key).Verify(token, nil); !errors.Is(err, ErrTokenExpired) {
		t.Errorf("expired: %v", err)
	}
}

func TestSignAndVerify(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	active := Key{ID: "k2", State: KeyActive, secret: seal([]byte("active"))}
	previous := Key{ID: "k1", State: KeyPrevious, secret: seal([]byte("previous"))}
	ring := loneRing(t, now, previous, active)
	token, err := ring.Sign(testClaims{"someone", now.Unix() + 60})
	if err != nil {
		t.Fatal(err)
	}
	head, _, _ := strings.Cut(token, ".")
	if raw, _ := base64.RawURLEncoding.DecodeString(head); string(raw) != `{"alg":"HS256","typ":"JWT","kid":"k2"}` {
		t.Errorf("header %s", raw)
	}
	var claims testClaims
	if err := ring.Verify(token, &claims); err != nil || claims.Subject != "someone" {
		t.Errorf("%v %v", claims, err)
	}
	if err := ring.Verify(token, new(int)); !errors.Is(err, ErrTokenMalformed) {
		t.Errorf("claims of another shape: %v", err)
	}
	for _, claims := range []any{"text", []int{1}, nil, math.Inf(1), json.RawMessage("")} {
		if _, err := ring.Sign(claims); err == nil {
			t.Errorf("%v was signed", claims)
		}
	}
}

// forge signs any header and claims with any key.
func forge(header, claims, secret string) string {
	signed := base64.RawURLEncoding.EncodeToString([]byte(header)) + "." + base64.RawURLEncoding.EncodeToString([]byte(claims))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac([]byte(secret), signed))
}

func TestVerifyRefuses(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	ring := loneRing(t, now,
		Key{ID: "k2", State: KeyActive, secret: seal([]byte("active"))},
		Key{ID: "k1", State: KeyPrevious, secret: seal([]byte("previous"))},
		Key{ID: "k3", State: KeyNext, secret: seal([]byte("next"))})
	const header = `{"alg":"HS256"}`
	const claims = `{"exp":1800000001}`
	good := forge(header, claims, "active")
	parts := strings.Split(good, ".")
	for name, test := range map[string]struct {
		token string
		want  error
	}{
		"good":                        {good, nil},
		"of the previous key":         {forge(header, claims, "previous"), nil},
		"of the next key":             {forge(header, claims, "next"), nil},
		"with its kid":                {forge(`{"alg":"HS256","kid":"k1"}`, claims, "previous"), nil},
		"with another's kid":          {forge(`{"alg":"HS256","kid":"k1"}`, claims, "active"), nil},
		"with a kid nobody knows":     {forge(`{"alg":"HS256","kid":"zzz"}`, claims, "active"), nil},
		"a fraction of a second":      {forge(header, `{"exp":1800000000.5}`, "active"), nil},
		"nbf is now":                  {forge(header, `{"exp":1800000001,"nbf":1800000000}`, "active"), nil},
		"very far away":               {forge(header, `{"exp":1e300}`, "active"), nil},
		"of another key":              {forge(header, claims, "another"), ErrTokenSignature},
		"of no key":                   {forge(header, claims, ""), ErrTokenSignature},
		"other claims":                {parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(`{"exp":1800000002}`)) + "." + parts[2], ErrTokenSignature},
		"other header":                {strings.Replace(good, parts[0], base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"HS256" }`)), 1), ErrTokenSignature},
		"alg none":                    {forge(`{"alg":"none"}`, claims, "active"), ErrTokenMalformed},
		"alg none, no signature":      {strings.TrimSuffix(forge(`{"alg":"none"}`, claims, "active"), parts[2]) + ".", ErrTokenMalformed},
		"alg HS512":                   {forge(`{"alg":"HS512"}`, claims, "active"), ErrTokenMalformed},
		"alg RS256":                   {forge(`{"alg":"RS256"}`, claims, "active"), ErrTokenMalformed},
		"alg is no text":              {forge(`{"alg":1}`, claims, "active"), ErrTokenMalformed},
		"no alg":                      {forge(`{}`, claims, "active"), ErrTokenMalformed},
		"an extension":                {forge(`{"alg":"HS256","crit":["b64"],"b64":false}`, claims, "active"), ErrTokenMalformed},
		"no exp":                      {forge(header, `{}`, "active"), ErrTokenExpired},
		"exp is null":                 {forge(header, `{"exp":null}`, "active"), ErrTokenExpired},
		"exp is text":                 {forge(header, `{"exp":"1800000001"}`, "active"), ErrTokenMalformed},
		"exp is now":                  {forge(header, `{"exp":1800000000}`, "active"), ErrTokenExpired},
		"exp is far back":             {forge(header, `{"exp":-1e300}`, "active"), ErrTokenExpired},
		"nbf is to come":              {forge(header, `{"exp":1800000009,"nbf":1800000001}`, "active"), ErrTokenNotYet},
		"claims are no object":        {forge(header, `[]`, "active"), ErrTokenMalformed},
		"two parts":                   {parts[0] + "." + parts[1], ErrTokenMalformed},
		"four parts":                  {good + "." + parts[2], ErrTokenMalformed},
		"empty":                       {"", ErrTokenMalformed},
		"dots":                        {"..", ErrTokenMalformed},
		"a short signature":           {good[:len(good)-4], ErrTokenMalformed},
		"no signature":                {parts[0] + "." + parts[1] + ".", ErrTokenMalformed},
		"padding":                     {good + "=", ErrTokenMalformed},
		"a line end":                  {good + "\n", ErrTokenMalformed},
		"bits behind the last":        {good[:len(good)-1] + "_", ErrTokenMalformed},
		"too long":                    {forge(header, `{"exp":1800000001,"x":"`+strings.Repeat("x", maxToken)+`"}`, "active"), ErrTokenMalformed},
		"a header that is not base64": {"!" + good, ErrTokenMalformed},
		"a line end in the signature": {good[:len(good)-5] + "\n" + good[len(good)-5:], ErrTokenMalformed},
	} {
		err := ring.Verify(test.token, nil)
		if !errors.Is(err, test.want) || (err == nil) != (test.want == nil) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// A library with the shapes of golang-jwt v5, that tries all keys as it does.
type (
	libraryToken  struct{ Header map[string]any }
	libraryKey    any
	libraryKeySet struct{ Keys []libraryKey }
	libraryFunc   func(*libraryToken) (any, error)
)

func TestKeyfunc(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	ring := loneRing(t, now,
		Key{ID: "k2", State: KeyActive, secret: seal([]byte("active"))},
		Key{ID: "k1", State: KeyPrevious, secret: seal([]byte("previous"))})
	var keyfunc libraryFunc = Keyfunc(ring,
		func(t *libraryToken) map[string]any { return t.Header },
		func(keys []libraryKey) any { return libraryKeySet{keys} })
	for _, test := range []struct {
		header map[string]any
		want   string
	}{
		{map[string]any{"alg": "HS256"}, "[active previous]"},
		{map[string]any{"alg": "HS256", "kid": "k1"}, "[previous active]"},
		{map[string]any{"alg": "HS256", "kid": 1.0}, "[active previous]"},
	} {
		set, err := keyfunc(&libraryToken{test.header})
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for _, key := range set.(libraryKeySet).Keys {
			got = append(got, string(key.([]byte)))
		}
		if fmt.Sprint(got) != test.want {
			t.Errorf("%v gives %v", test.header, got)
		}
	}
	for _, alg := range []any{"none", "RS256", nil, 1} {
		if set, err := keyfunc(&libraryToken{map[string]any{"alg": alg}}); !errors.Is(err, ErrTokenMalformed) || set != nil {
			t.Errorf("alg %v: %v %v", alg, set, err)
		}
	}
	// Typed keys, as other libraries have them.
	bytesOnly := Keyfunc(ring, func(h map[string]any) map[string]any { return h }, func(keys [][]byte) any { return keys[0] })
	if key, err := bytesOnly(map[string]any{"alg": "HS256", "kid": "k1"}); err != nil || string(key.([]byte)) != "previous" {
		t.Errorf("%v", err)
	}
	wrong := Keyfunc(ring, func(h map[string]any) map[string]any { return h }, func(keys []string) any { return keys })
	if _, err := wrong(map[string]any{"alg": "HS256"}); err == nil {
		t.Errorf("text is no key")
	}
}
