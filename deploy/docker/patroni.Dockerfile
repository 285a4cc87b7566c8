# PostgreSQL with Patroni, for compose.failover.yaml.
FROM postgres:17-bookworm
# The base image's repositories decide which Patroni; it reads the file that is copied.
# hadolint ignore=DL3008
RUN apt-get update \
    && apt-get install --yes --no-install-recommends patroni \
    && rm -rf /var/lib/apt/lists/* \
    && install --directory --mode 0700 --owner postgres --group postgres /var/lib/postgresql/data/patroni
COPY deploy/postgres/patroni.yml /etc/patroni.yml
USER postgres
VOLUME /var/lib/postgresql/data
ENTRYPOINT ["patroni"]
CMD ["/etc/patroni.yml"]
