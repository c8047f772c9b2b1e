/** Says who it is: `identity` prints `{pid, startTime}`, the ProcessId of processes.ts. */
const PREAMBLE = `
folder=$1
shift
twentieth() { shift 19; echo "$1"; }
identity() {
  if [ -r /proc/self/stat ]; then
    read -r stat < /proc/$$/stat
    set -f
    start=$(twentieth \${stat##*) })
    set +f
  else
    start=$(ps -o lstart= -p $$ | sed 's/^ *//;s/ *$//')
  fi
  printf '{"pid":%s,"startTime":"%s"}\\n' "$$" "$start"
}
`;

/** How much of a log's end is kept when the log is full. POSIX lets `tail` keep less of a pipe; none that we know does. */
const LOG_END_BYTES = 65_536;

/**
 * What stands between the server and a job's command, so that the job outlives the server: `sh -c WRAPPER wrapper
 * FOLDER BLOCKS command..`, as the leader of its own session and process group. In FOLDER it
 *  1. claims `pid`, a hard link that only one wrapper can make: a server that died between spawn and claim may start
 *     a second one, and the second ends here without having run anything;
 *  2. runs the command, and survives the signals that are meant for it. What it prints goes through a pipe to `log`, up
 *     to BLOCKS of 512 bytes; of what follows the end is kept until the command has ended, and then put behind. The pipe
 *     is read to its end whatever happens, so that no command waits or dies because its log, or the disk, is full;
 *  3. writes `exit` last. What the command left running has 2 seconds to let go of the pipe.
 * A wrapper and not a Node process: it costs under a megabyte a job, and needs nothing but POSIX sh.
 */
export const WRAPPER = `${PREAMBLE}
blocks=$1
shift
identity > "$folder/pid.$$" || exit 70
ln "$folder/pid.$$" "$folder/pid" 2>/dev/null || { rm -f "$folder/pid.$$"; exit 0; }
rm -f "$folder/pid.$$" "$folder/out"
mkfifo "$folder/out" || exit 70
# Opened for both ways first: an end alone would wait for the other.
exec 3<>"$folder/out" 4<"$folder/out" 5>"$folder/out" 3>&-
rm -f "$folder/out"
# What is ignored here is ignored there from its first instruction on.
trap '' TERM INT HUP
(
  ( trap '' XFSZ; ulimit -f "$blocks"; exec cat >> "$folder/log" ) 2>/dev/null ||
    printf '\\nstillflow: the log is full: of what follows only the end is kept\\n' >> "$folder/log"
  exec tail -c ${LOG_END_BYTES} > "$folder/log.end"
) <&4 4<&- 5>&- >/dev/null 2>&1 &
drain=$!
told=
trap 'told=1' TERM INT HUP
"$@" < /dev/null >&5 2>&1 4<&- 5>&- &
child=$!
# A signal that came before the command was there to hear it.
[ -z "$told" ] || kill -TERM "$child"
exec 4<&- 5>&-
code=0
while :; do
  wait "$child"
  code=$?
  kill -0 "$child" 2>/dev/null || break
done
wait "$child" 2>/dev/null
again=$?
[ "$again" -eq 127 ] || code=$again
trap '' TERM INT HUP
kill -TERM -$$ 2>/dev/null
( sleep 2; kill -KILL "$drain" ) > /dev/null 2>&1 &
dog=$!
wait "$drain"
kill -KILL "$dog"
[ -s "$folder/log.end" ] && cat "$folder/log.end" >> "$folder/log"
rm -f "$folder/log.end"
printf '%s\\n' "$code" > "$folder/exit.tmp" && mv "$folder/exit.tmp" "$folder/exit"
`;

/**
 * For a model server, which must not outlive us: `sh -c TETHER tether FOLDER command..`, its standard input a pipe that
 * we hold open. When the pipe closes, however we ended, the whole process group ends. FOLDER gets `pid` and `log`.
 */
export const TETHER = `${PREAMBLE}
identity > "$folder/pid.tmp" && mv "$folder/pid.tmp" "$folder/pid" || exit 70
exec 3<&0
trap : TERM INT HUP
"$@" < /dev/null >> "$folder/log" 2>&1 3<&- &
child=$!
( trap - TERM; read -r nothing <&3; trap : TERM; kill -TERM -$$; sleep 10; kill -KILL -$$ ) > /dev/null 2>&1 &
while kill -0 "$child" 2>/dev/null; do wait "$child"; done
kill -KILL -$$
`;
