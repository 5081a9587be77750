# dlconf alone: one static binary in an empty image. docs/image.md says what is in it,
# and what of this was checked.
#
#   docker build --tag dlconf .
#
# The release gives what only it knows:
#
#   docker build --build-arg RUST_DIGEST=@sha256:… \
#     --build-arg REVISION="$(git rev-parse HEAD)" --build-arg SOURCE=https://… --tag dlconf:0.1.0 .

# As in Cargo.toml; the build fails if it is not.
ARG VERSION=0.1.0
# The tag says which compiler and which Debian; whose bytes, only a digest does. None is
# written here, since it changes with every rebuild of that tag (which is how Debian's
# fixes get in) and a stale one would keep them out.
ARG RUST_DIGEST=""

FROM docker.io/library/rust:1.95.0-slim-bookworm${RUST_DIGEST} AS build

WORKDIR /build
# With an explicit target, below, these do not apply to build scripts and macros.
# Relative relocations are packed: 0.4 MB less.
ENV RUSTFLAGS="-C target-feature=+crt-static -C link-arg=-Wl,-z,pack-relative-relocs"

# Dependencies alone, under an empty program: this layer stays until the manifest or the
# lock changes. A mount for caches would need BuildKit. What was compiled of the empty
# program is thrown away at once: cargo goes by times, and sources that are older than
# this layer would look as if they were compiled already.
COPY Cargo.toml Cargo.lock ./
COPY benches benches
RUN mkdir src \
 && echo 'fn main() {}' >src/main.rs \
 && touch src/lib.rs \
 && target="$(rustc --print host-tuple)" \
 && cargo build --release --locked --bin dlconf --target "$target" \
 && cargo clean --release --package dlconf --target "$target"

COPY policies policies
COPY schemas schemas
COPY src src
# --version also shows that it starts.
ARG VERSION
RUN target="$(rustc --print host-tuple)" \
 && cargo build --release --locked --bin dlconf --target "$target" \
 && install -D -m 0755 "target/$target/release/dlconf" /image/dlconf \
 && test "$(/image/dlconf --version)" = "dlconf $VERSION"

# What a lone static binary lacks. Authorities, for servers with public certificates
# (others are named in the settings, `ca_cert`). A name for the user. Folders for the
# socket and the snapshot: volumes that are mounted there the first time get their owner.
# No nsswitch.conf: without one, this C library asks /etc/hosts and then DNS.
RUN install -D -m 0444 /etc/ssl/certs/ca-certificates.crt /image/etc/ssl/certs/ca-certificates.crt \
 && echo 'dlconf:x:65532:65532::/:/sbin/nologin' >/image/etc/passwd \
 && echo 'dlconf:x:65532:' >/image/etc/group \
 && mkdir -p /image/run /image/var/lib \
 && install -d -m 0755 /folders/run/dlconf \
 && install -d -m 0700 /folders/lib/dlconf

# Not distroless/static: it has the same and more (time zones, a home, Debian's package
# records), and would be a second image to pin and to watch.
FROM scratch

ARG VERSION
ARG REVISION=""
ARG SOURCE=""
LABEL org.opencontainers.image.title="dlconf" \
      org.opencontainers.image.description="A secrets-and-configuration broker: resolves a program's 12-factor configuration from layered sources, checks it against a typed schema and hands it over." \
      org.opencontainers.image.licenses="Apache-2.0 OR MIT" \
      org.opencontainers.image.version="$VERSION" \
      org.opencontainers.image.revision="$REVISION" \
      org.opencontainers.image.source="$SOURCE"

COPY --from=build /image/ /
COPY --from=build --chown=65532:65532 /folders/run/ /run/
COPY --from=build --chown=65532:65532 /folders/lib/ /var/lib/

# By number, so that runAsNonRoot can be judged without reading /etc/passwd.
USER 65532:65532

# Ready, not only alive: what waits for `service_healthy` is a program that needs its
# configuration. Asks where /etc/dlconf/dlconf.toml, DLCONF_CONFIG or DLCONF_SOCKET say.
# Kubernetes knows no HEALTHCHECK: there the probes are in the manifest.
HEALTHCHECK --interval=10s --timeout=6s --start-period=30s --retries=3 \
  CMD ["/dlconf", "health", "--ready"]

ENTRYPOINT ["/dlconf"]
CMD ["daemon"]
