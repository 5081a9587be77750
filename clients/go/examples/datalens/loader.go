package main

import (
	"strconv"
	"strings"
	"time"
)

// lookup is os.LookupEnv, or dlconf.Values.Lookup: the loader does not care.
type lookup func(name string) (string, bool)

// The API's readers. An empty value counts as unset, and an integer or a duration
// that does not parse is silently the default: dlconf's schema has reported both
// before they could get here.

func (l lookup) str(name, fallback string) string {
	if value, ok := l(name); ok && value != "" {
		return value
	}
	return fallback
}

func (l lookup) int(name string, fallback int) int {
	if n, err := strconv.Atoi(l.str(name, "")); err == nil {
		return n
	}
	return fallback
}

func (l lookup) dur(name string, fallback time.Duration) time.Duration {
	if d, err := time.ParseDuration(l.str(name, "")); err == nil {
		return d
	}
	return fallback
}

func (l lookup) list(name string, fallback ...string) []string {
	if value := l.str(name, ""); value != "" {
		return strings.Split(value, ",")
	}
	return fallback
}

// config is the part of the API's configuration that this example uses. It has
// no keys: those are the ring's.
type config struct {
	Env      string
	Port     int
	LogLevel string

	DBHost            string
	DBPort            int
	DBMaxOpenConns    int
	DBConnMaxLifetime time.Duration

	AccessTokenExpiry time.Duration
	AllowedOrigins    []string
}

func load(l lookup) config {
	return config{
		Env:      l.str("APP_ENV", "development"),
		Port:     l.int("APP_PORT", 8080),
		LogLevel: l.str("APP_LOG_LEVEL", "debug"),

		DBHost:            l.str("DB_HOST", "localhost"),
		DBPort:            l.int("DB_PORT", 5432),
		DBMaxOpenConns:    l.int("DB_MAX_OPEN_CONNS", 25),
		DBConnMaxLifetime: l.dur("DB_CONN_MAX_LIFETIME", 5*time.Minute),

		AccessTokenExpiry: l.dur("JWT_ACCESS_TOKEN_EXPIRY", 15*time.Minute),
		AllowedOrigins: l.list("CORS_ALLOWED_ORIGINS",
			"http://cc.localhost:8000", "http://admin.localhost:8000", "http://portal.localhost:8000"),
	}
}

// reloadable are the variables that take effect while the program runs; all
// others need a restart. The ring sees to the keys.
var reloadable = []string{"APP_LOG_LEVEL", "JWT_ACCESS_TOKEN_EXPIRY", "CORS_ALLOWED_ORIGINS"}
