# What a shell has after it sourced or evaluated a file: read.sh HOW FILE COUNT.
# Prints NAME=VALUE for V0 to V(COUNT-1), each ended by a NUL byte. The shell is
# the one that runs this; `env` would not do, for so many values exceed what one
# command may be given.
set -eu
case $1 in
source) . "$2" ;;
allexport) set -a && . "$2" ;;
eval) eval "$(cat "$2")" ;;
esac
i=0
while [ "$i" -lt "$3" ]; do
  eval "if [ -n \"\${V$i+set}\" ]; then printf '%s\\0' \"V$i=\$V$i\"; fi"
  i=$((i + 1))
done
