#!/usr/bin/env bash
# PostgreSQL with PostGIS, as Debian and Ubuntu have it, where it is absent. The package makes no
# cluster and starts none: the tests make their own.
set -euo pipefail

found() { compgen -G '/usr/share/postgresql/*/extension/postgis_raster.control' >/dev/null; }
if found; then exit; fi
if [ "$(id -u)" != 0 ] || ! command -v apt-get >/dev/null; then
    echo "No PostgreSQL with PostGIS: the real Panoramax server cannot run. On Debian, as root:" >&2
    echo "  bash tests/services/install_postgresql.sh" >&2
    exit 1
fi
export DEBIAN_FRONTEND=noninteractive
apt-get update -q
apt-get install -yq --no-install-recommends postgresql-common
settings=/etc/postgresql-common/createcluster.conf
sed -i 's/^#* *create_main_cluster *=.*/create_main_cluster = false/' "$settings"
grep -q '^create_main_cluster = false' "$settings" || echo 'create_main_cluster = false' >>"$settings"
apt-get install -yq --no-install-recommends postgresql-postgis postgresql-postgis-scripts
found || {
    echo "Debian's packages brought no PostGIS." >&2
    exit 1
}
