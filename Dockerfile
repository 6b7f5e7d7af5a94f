# The trainer's image: `docker build .`, or with podman; docs/vertex.md shows its use.
#
#   --build-arg REQUIREMENTS=gpu     with TensorFlow's CUDA libraries
#   --build-arg BASE=IMAGE           another base that has python3, venv and useradd
#   --build-arg REVISION=COMMIT      recorded in the labels and in every run's config.json
#   --secret id=pip_conf,src=FILE    a package index of your own; not kept in the image
#   --secret id=ca_certificates,src=FILE
#
# Layers by how seldom they change: packages, then the backbone, then the code.
ARG BASE=python:3.11-slim

FROM ${BASE} AS base
ENV PATH=/opt/venv/bin:$PATH

FROM base AS packages
ARG REQUIREMENTS=runtime
COPY requirements/${REQUIREMENTS}.txt /build/requirements.txt
# Removes what only compiles custom ops (headers, clang), TFDS's Parquet reader, and pip itself.
# Compiles bytecode here, since a read-only root cannot keep any.
RUN --mount=type=cache,id=graft-pip,target=/var/cache/pip \
    --mount=type=secret,id=pip_conf \
    --mount=type=secret,id=ca_certificates \
    set -eu; \
    if [ -e /run/secrets/pip_conf ]; then export PIP_CONFIG_FILE=/run/secrets/pip_conf; fi; \
    if [ -e /run/secrets/ca_certificates ]; then \
        export PIP_CERT=/run/secrets/ca_certificates; \
    fi; \
    python3 -m venv /opt/venv; \
    PIP_CACHE_DIR=/var/cache/pip /opt/venv/bin/pip install --no-compile --require-hashes --no-deps -r /build/requirements.txt; \
    for package in tensorflow/include clang pip pyarrow; do \
        rm -rf /opt/venv/lib/python3*/site-packages/"$package"; \
    done; \
    rm -rf /opt/venv/lib/python3*/site-packages/pip-*.dist-info; \
    python -m compileall -q -j 0 --invalidation-mode unchecked-hash /opt/venv/lib || \
        echo "not all files of the packages are Python of this version"

FROM packages AS backbone
# Only the code that builds it, so that other changes do not rebuild this layer.
WORKDIR /build
COPY trainer/__init__.py trainer/
COPY trainer/process/__init__.py trainer/process/errors.py trainer/process/file_lock.py trainer/process/
COPY trainer/storage/ trainer/storage/
COPY trainer/graph/__init__.py trainer/graph/errors.py trainer/graph/graph_cache.py trainer/graph/saved_graph.py trainer/graph/
COPY trainer/models/ trainer/models/
RUN TF_CPP_MIN_LOG_LEVEL=2 python -c "from trainer.models import frozen_backbone as f; \
    f.load('efficientnet_lite0', image_size=0, value_range=None, cache_dir='/opt/prepared')"

# On top of the packages, and not with a copy of them: a copy would be compared at every build.
FROM packages
RUN useradd --uid 10001 --home-dir /tmp --no-create-home --shell /usr/sbin/nologin graft
COPY --from=backbone /opt/prepared /opt/prepared
WORKDIR /app
COPY trainer/ trainer/
RUN python -m compileall -q --invalidation-mode unchecked-hash trainer
# The root may be read-only: only /tmp (or TMPDIR) and GRAFT_CACHE_DIR are written to, beside
# --workdir.
ENV GRAFT_CACHE_DIR=/tmp/graft \
    GRAFT_PREPARED_DIR=/opt/prepared \
    HOME=/tmp \
    PYTHONUNBUFFERED=1
ARG REVISION=""
ARG VERSION=0.1.0
LABEL org.opencontainers.image.title="graft" \
      org.opencontainers.image.description="Fine-tunes image classifiers with TensorFlow" \
      org.opencontainers.image.licenses="Apache-2.0" \
      org.opencontainers.image.version="${VERSION}" \
      org.opencontainers.image.revision="${REVISION}"
ENV GRAFT_GIT_COMMIT=${REVISION}
USER 10001:10001
ENTRYPOINT ["python", "-m", "trainer.task"]
