#!/bin/sh
# Boots a kernel tree's own amdxdna against fauxdna and writes a JUnit report. Usage: check-kernel.sh TREE REPORT [fauxdna vm OPTION...]
set -eu
tree=$1 report=$(realpath "$2")
shift 2
here=$(cd "$(dirname "$0")" && pwd)

cd "$tree"
[ -f .config ] || make -s tinyconfig
scripts/kconfig/merge_config.sh -m .config "$here/kernel.config" ${DEBUG:+"$here/debug.config"}
make -s olddefconfig
grep -q '^CONFIG_DRM_ACCEL_AMDXDNA=[my]' .config || { echo "this tree has no amdxdna for AIE4, or its dependencies are off" >&2; exit 2; }
for option in ${DEBUG:+$(grep -o '^CONFIG_[A-Z_]*=y' "$here/debug.config")}; do
    grep -q "^$option" .config || { echo "this tree's configuration leaves $option of debug.config out" >&2; exit 2; }
done
make -s -j"$(nproc)" bzImage modules

fauxdna vm --kernel arch/x86/boot/bzImage --modules . --timeout 900 ${DEBUG:+--cpus 2} --junit "$report" "$@"
