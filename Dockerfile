# The gate as a small image: built with Rust on Debian, run as nobody on a slim Debian with CA
# certificates. Build: docker build -t vlmgate .   (or: buildah bud -t vlmgate .)
ARG BUILD_IMAGE=docker.io/library/rust:1.95-slim-bookworm
ARG RUN_IMAGE=docker.io/library/debian:bookworm-slim

FROM ${BUILD_IMAGE} AS build
# cmake and nasm build libjpeg-turbo
RUN { cc --version && cmake --version && make --version && nasm --version; } >/dev/null 2>&1 || \
    (apt-get update && apt-get install -y --no-install-recommends gcc libc6-dev cmake make nasm)
WORKDIR /src
COPY Cargo.toml Cargo.lock ./
COPY .cargo ./.cargo
COPY loadtest ./loadtest
COPY migrations ./migrations
COPY policies ./policies
COPY src ./src
COPY ui ./ui
# the test binary is named in Cargo.toml; its sources are not needed to build the gate
RUN mkdir -p tests/it && touch tests/it/main.rs \
    && cargo build --profile dist --locked --package vlmgate --features fast-codecs \
    && strip target/dist/vlmgate

FROM ${RUN_IMAGE}
RUN test -s /etc/ssl/certs/ca-certificates.crt || \
    (apt-get update && apt-get install -y --no-install-recommends ca-certificates \
     && rm -rf /var/lib/apt/lists/*)
RUN mkdir -p /data /etc/vlmgate && chown 65534:65534 /data
COPY --from=build /src/target/dist/vlmgate /usr/local/bin/vlmgate
COPY policies /etc/vlmgate/policies
USER 65534:65534
WORKDIR /
VOLUME /data
EXPOSE 8080
HEALTHCHECK --interval=10s --timeout=3s --start-period=5s --retries=3 \
    CMD ["/usr/local/bin/vlmgate", "doctor", "--probe", "http://127.0.0.1:8080"]
STOPSIGNAL SIGTERM
ENTRYPOINT ["/usr/local/bin/vlmgate"]
CMD ["serve", "--config", "/etc/vlmgate/vlmgate.yaml", "--data", "/data"]
