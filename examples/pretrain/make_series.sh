#!/usr/bin/env bash
# Collects real series to pre-train and score a forecaster with from packages of Debian 12: they are
# downloaded and unpacked below OUT, not installed, and nothing of them is run.
#   examples/pretrain/make_series.sh OUT
# writes OUT/series.csv (one series a line: part, domain, name, period, values) and OUT/sources.csv.
# needs: python3, apt-get, dpkg-deb; about 100 MB to download, 250 MB unpacked
set -euo pipefail
[ $# -eq 1 ] || { echo "usage: make_series.sh OUT" >&2; exit 2; }
out=$1
here=$(cd "$(dirname "$0")" && pwd)
for program in apt-get dpkg-deb python3; do
  command -v "$program" > /dev/null || { echo "make_series.sh: $program is missing" >&2; exit 2; }
done
mkdir -p "$out/packages"
packages=(ferret-datasets gretl-common gretl-data python3-statsmodels python3-vega-datasets
          r-base-core r-cran-aer r-cran-boot r-cran-dynlm r-cran-forecast r-cran-lmtest
          r-cran-spacetime r-cran-strucchange r-cran-surveillance r-cran-tseries r-cran-urca
          r-cran-waveslim)
for package in "${packages[@]}"; do
  [ -d "$out/packages/$package" ] && continue
  (cd "$out/packages" && apt-get download -q "$package")
  dpkg-deb -x "$out/packages/${package}"_*.deb "$out/packages/$package.part"
  mv "$out/packages/$package.part" "$out/packages/$package"
done
python3 -B "$here/make_series.py" "$out"
