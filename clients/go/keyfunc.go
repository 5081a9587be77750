package dlconf

import (
	"fmt"
)

// Keyfunc makes a ring the key function of a JWT library, without this package
// knowing the library. With github.com/golang-jwt/jwt/v5:
//
//	keyfunc := dlconf.Keyfunc(ring,
//		func(t *jwt.Token) map[string]any { return t.Header },
//		func(keys []jwt.VerificationKey) any { return jwt.VerificationKeySet{Keys: keys} })
//	token, err := jwt.ParseWithClaims(text, claims, keyfunc,
//		jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())
//
// The library then tries every live key, the one of the token's kid first. A
// token whose header does not say HS256 gets no key. T is the library's token, K
// its type of a key, which a []byte must be assignable to; set makes of the keys
// what the library's key function returns.
//
// The keys are copies: those that a ring drops are overwritten, and the library
// may be using them just then. They are the garbage collector's.
//
// A library that takes one key only (golang-jwt before v5) cannot verify tokens
// without a kid through a rotation: use [KeyRing.Verify].
func Keyfunc[T, K any](ring *KeyRing, header func(T) map[string]any, set func([]K) any) func(T) (any, error) {
	return func(token T) (any, error) {
		h := header(token)
		if alg, _ := h["alg"].(string); alg != "HS256" {
			return nil, fmt.Errorf("%w: it is not HS256", ErrTokenMalformed)
		}
		kid, _ := h["kid"].(string)
		secrets, err := ring.VerificationKeys(kid)
		if err != nil {
			return nil, err
		}
		keys := make([]K, 0, len(secrets))
		for _, secret := range secrets {
			key, ok := any(secret).(K)
			if !ok {
				return nil, fmt.Errorf("dlconf: a %T is no []byte", *new(K))
			}
			keys = append(keys, key)
		}
		return set(keys), nil
	}
}
