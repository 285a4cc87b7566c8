# A member of etcd, for compose.failover.yaml.
FROM debian:trixie-slim
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends etcd-server \
    && rm -rf /var/lib/apt/lists/*
USER nobody
ENTRYPOINT ["etcd", "--data-dir=/tmp/etcd", "--initial-cluster-token=maskline", \
    "--initial-cluster=etcd1=http://etcd1:2380,etcd2=http://etcd2:2380,etcd3=http://etcd3:2380", \
    "--listen-peer-urls=http://0.0.0.0:2380", "--listen-client-urls=http://0.0.0.0:2379"]
