# Sourced by examples/demo.sh and tests/run.sh: installs the Debian packages that are missing.
install_packages() {
  missing=""
  for package in "$@"; do
    dpkg-query -W -f '${Status}' "$package" 2>/dev/null | grep -q 'ok installed' ||
      missing="$missing $package"
  done
  [ -n "$missing" ] || return 0
  if [ "$(id -u)" -eq 0 ]; then root=""; else root="sudo"; fi
  echo "installing:$missing"
  export DEBIAN_FRONTEND=noninteractive
  $root apt-get update -qq
  # shellcheck disable=SC2086
  $root apt-get install -y -qq --no-install-recommends $missing >/dev/null
}
