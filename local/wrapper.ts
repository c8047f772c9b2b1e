/**
 * What stands between the server and a job's command, so that the job outlives the server: `sh -c WRAPPER wrapper
 * FOLDER command..`, as the leader of its own session and process group. In FOLDER it
 *  1. claims `pid`, a hard link that only one wrapper can make: a server that died between spawn and claim may start
 *     a second one, and the second ends here without having run anything;
 *  2. runs the command, its output to `log`, and survives the signals that are meant for the command;
 *  3. writes `exit` last.
 * A wrapper and not a Node process: it costs under a megabyte a job, and needs nothing but POSIX sh.
 */
export const WRAPPER = `
folder=$1
shift
twentieth() { shift 19; echo "$1"; }
if [ -r /proc/self/stat ]; then
  read -r stat < /proc/$$/stat
  set -f
  start=$(twentieth \${stat##*) })
  set +f
else
  start=$(ps -o lstart= -p $$ | sed 's/^ *//;s/ *$//')
fi
printf '{"pid":%s,"startTime":"%s"}\\n' "$$" "$start" > "$folder/pid.$$" || exit 70
ln "$folder/pid.$$" "$folder/pid" 2>/dev/null || { rm -f "$folder/pid.$$"; exit 0; }
rm -f "$folder/pid.$$"
trap : TERM INT HUP
"$@" < /dev/null >> "$folder/log" 2>&1 &
child=$!
code=0
while :; do
  wait "$child"
  code=$?
  kill -0 "$child" 2>/dev/null || break
done
wait "$child" 2>/dev/null
again=$?
[ "$again" -eq 127 ] || code=$again
printf '%s\\n' "$code" > "$folder/exit.tmp" && mv "$folder/exit.tmp" "$folder/exit"
`;

/**
 * For a model server, which must not outlive us: `sh -c TETHER tether FOLDER command..`, its standard input a pipe that
 * we hold open. When the pipe closes, however we ended, the whole process group ends. FOLDER gets `pid` and `log`.
 */
export const TETHER = `
folder=$1
shift
twentieth() { shift 19; echo "$1"; }
if [ -r /proc/self/stat ]; then
  read -r stat < /proc/$$/stat
  set -f
  start=$(twentieth \${stat##*) })
  set +f
else
  start=$(ps -o lstart= -p $$ | sed 's/^ *//;s/ *$//')
fi
printf '{"pid":%s,"startTime":"%s"}\\n' "$$" "$start" > "$folder/pid.tmp" && mv "$folder/pid.tmp" "$folder/pid" || exit 70
exec 3<&0
trap : TERM INT HUP
"$@" < /dev/null >> "$folder/log" 2>&1 3<&- &
child=$!
( trap - TERM; read -r nothing <&3; trap : TERM; kill -TERM -$$; sleep 10; kill -KILL -$$ ) > /dev/null 2>&1 &
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
kill -KILL -$$
`;
