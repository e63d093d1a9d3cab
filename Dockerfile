# stop-harness as a container image, which stops other containers through a mounted socket: docs/image.md.
#
#     docker build -t stop-harness .
#
# BASE_IMAGE needs Python 3.11 or newer as python3, or apt-get to install it with.
ARG BASE_IMAGE=debian:bookworm-slim

FROM ${BASE_IMAGE} AS base
RUN python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends python3 && rm -rf /var/lib/apt/lists/*; }

FROM base AS build
RUN python3 -c 'import ensurepip' 2>/dev/null \
    || { apt-get update && apt-get install -y --no-install-recommends python3-venv && rm -rf /var/lib/apt/lists/*; }
RUN python3 -m venv /opt/stop-harness
COPY requirements/image.txt /build/requirements/image.txt
# What was locked, and nothing whose hash is not in the file.
RUN /opt/stop-harness/bin/pip install --no-cache-dir --disable-pip-version-check \
    --require-hashes -r /build/requirements/image.txt
COPY pyproject.toml README.md LICENSE /build/
COPY harness /build/harness
RUN /opt/stop-harness/bin/pip install --no-cache-dir --disable-pip-version-check --no-deps /build \
    && /opt/stop-harness/bin/pip uninstall --quiet --yes pip setuptools

FROM base
COPY --from=build /opt/stop-harness /opt/stop-harness
# A user of its own. The engine's socket belongs to a group, which `docker run --group-add` names.
RUN useradd --uid 10001 --create-home stop-harness && install -d -o stop-harness /work
ENV PATH=/opt/stop-harness/bin:$PATH PYTHONUNBUFFERED=1
USER 10001
WORKDIR /work
# Exec form, so that the program itself is PID 1 and hears its stop signal.
ENTRYPOINT ["stop-harness"]
CMD ["--help"]
