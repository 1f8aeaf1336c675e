# Two stages: the first installs what the hashes in requirements/ allow and nothing else, the second runs it.
FROM python:3.11-slim AS build

ENV PIP_DISABLE_PIP_VERSION_CHECK=1 PIP_NO_CACHE_DIR=1
WORKDIR /src
RUN python -m venv /opt/token-ledger

# Dependencies first: this layer is rebuilt only when a pin changes.
COPY requirements requirements
RUN /opt/token-ledger/bin/pip install --require-hashes --no-deps -r requirements/service.txt

# The build backends come with their hashes from the development pins; build isolation would fetch them unpinned.
# Were one of its dependencies missing from this list, pip would refuse to install it without a hash.
RUN awk '/^[^ ]/ {keep = /^(hatchling|packaging|pathspec|pluggy|tomlkit|trove-classifiers|uv-build)==/} keep' \
        requirements/dev.txt > /tmp/backend.txt \
    && pip install --require-hashes -r /tmp/backend.txt
COPY . .
RUN pip wheel --no-deps --no-build-isolation --no-index --wheel-dir /tmp/wheels . ./sdk \
    && /opt/token-ledger/bin/pip install --no-deps --no-index /tmp/wheels/*.whl


FROM python:3.11-slim

# A number rather than a name, so that an orchestrator can see that it is not root.
RUN useradd --system --uid 10001 --create-home --home-dir /var/lib/token-ledger token-ledger
COPY --from=build /opt/token-ledger /opt/token-ledger
ENV PATH=/opt/token-ledger/bin:$PATH PYTHONUNBUFFERED=1 PYTHONDONTWRITEBYTECODE=1
WORKDIR /var/lib/token-ledger
USER 10001
EXPOSE 8080
CMD ["token-ledger", "serve", "--host", "0.0.0.0", "--port", "8080"]
