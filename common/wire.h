/*
 * What passes between the node and coronerd on the ingest socket, written once for both.
 * docs/protocol.md describes it in words.
 *
 * A Unix stream socket carries frames: a length of four bytes, big-endian, then that many bytes
 * (1 .. WIRE_FRAME_MAX) which hold exactly one CBOR item (RFC 8949), a definite-length array whose
 * first element is the frame's type, an unsigned integer. Only these CBOR items occur: unsigned
 * integers below 2^63, UTF-8 text, byte strings never, arrays and maps of definite length, true,
 * false and null. A map's key is one of WIRE_KEYS as an unsigned integer, or, for keys that are newer
 * than the reader, a text of [a-z_]{1,32}.
 *
 *   node -> daemon                                                   daemon -> node
 *   [HELLO, version, {map}]      first frame of a connection
 *                                                                    [ACK, seq]  answers the hello
 *   [RECORD, seq, time_ns, lost_before, kind, {map}]
 *                                                                    [ACK, seq]  after commit, cumulative
 *   [COUNTERS, made, {map}]      now and then, and before BYE
 *   [BYE, made]                  the node closes on purpose
 *                                                                    [ERROR, text]  then the daemon closes
 *
 * The node sends no record before the first ACK. Sequence numbers are dense within an incarnation:
 * every record made gets the next one (from 1), also one that is dropped before it could be sent. So
 * `made` = the highest sequence number given out, and whatever of 1 .. made never reaches the store is
 * lost. `lost_before` is how many records immediately before this one the node knows to be lost.
 */
#ifndef CORONER_WIRE_H
#define CORONER_WIRE_H

#define WIRE_VERSION 1
#define WIRE_FRAME_MAX 65536 /* bytes after the length */
#define WIRE_RECORD_JSON_MAX 8192 /* bytes of a record as one JSON line, with its newline */
#define WIRE_DEPTH_MAX 6 /* nesting of arrays and maps in a frame, the frame's own array included */
#define WIRE_TEXT_MAX 4096 /* bytes of one text */

enum wire_frame {
    WIRE_HELLO = 1,
    WIRE_RECORD = 2,
    WIRE_COUNTERS = 3,
    WIRE_BYE = 4,
    WIRE_ACK = 16,
    WIRE_ERROR = 17
};

/* X(symbol, number, value of "schema" in the JSON line): the kinds of records */
#define WIRE_KINDS(X)                                                                              \
    X(EXIT, 0, "coroner.exit/1")                                                                   \
    X(GAP, 1, "coroner.gap/1")

enum wire_kind {
#define X(symbol, number, schema) WIRE_KIND_##symbol = number,
    WIRE_KINDS(X)
#undef X
};

/*
 * X(number, name): the keys of maps. Numbers are never reused; new keys are added at the end.
 *
 * hello:    incarnation (16 hex digits) name (of the node) host os_pid otp first_held (lowest sequence
 *           number still held, made + 1 when none is) made
 * counters: normal (exits counted, not recorded) lost (records dropped unsent) and others, all unsigned; as
 *           texts paused disarmed scoped, 0 or 1: what of the node is not traced
 * record:   what DESIGN calls the record, but for schema, id, time, node and lost_before, which the
 *           daemon adds from the frame and the hello. Values are texts, unsigned integers, booleans,
 *           null, arrays of texts, and for `chain` and `candidates` arrays of maps.
 */
#define WIRE_KEYS(X)                                                                               \
    X(1, severity)                                                                                 \
    X(2, message)                                                                                  \
    X(3, process)                                                                                  \
    X(4, exit)                                                                                     \
    X(5, origin)                                                                                   \
    X(6, chain)                                                                                    \
    X(7, chain_length)                                                                             \
    X(8, pid)                                                                                      \
    X(9, name)                                                                                     \
    X(10, initial_call)                                                                            \
    X(11, parent)                                                                                  \
    X(12, ancestors)                                                                               \
    X(13, trap_exit)                                                                               \
    X(14, age_us)                                                                                  \
    X(15, source)                                                                                  \
    X(16, reason)                                                                                  \
    X(17, reason_class)                                                                            \
    X(18, truncated)                                                                               \
    X(19, confidence)                                                                              \
    X(20, via)                                                                                     \
    X(21, stack)                                                                                   \
    X(22, candidates)                                                                              \
    X(23, evidence_lost)                                                                           \
    X(24, id)                                                                                      \
    X(25, by)                                                                                      \
    X(26, by_name)                                                                                 \
    X(27, by_initial_call)                                                                         \
    X(28, by_call)                                                                                 \
    X(29, by_file)                                                                                 \
    X(30, by_line)                                                                                 \
    X(31, by_stack)                                                                                \
    X(32, by_function)                                                                             \
    X(33, by_node)                                                                                 \
    X(34, module)                                                                                  \
    X(35, operation)                                                                               \
    X(36, limit_words)                                                                             \
    X(37, size_words)                                                                              \
    X(38, port)                                                                                    \
    X(39, driver)                                                                                  \
    X(40, command)                                                                                 \
    X(41, target)                                                                                  \
    X(42, node)                                                                                    \
    X(43, application)                                                                             \
    X(44, supervisor)                                                                              \
    X(45, child)                                                                                   \
    X(46, timeout_ms)                                                                              \
    X(47, why)                                                                                     \
    X(48, sibling_id)                                                                              \
    X(49, gap)                                                                                     \
    X(50, from)                                                                                    \
    X(51, to)                                                                                      \
    X(52, detail)                                                                                  \
    X(53, incarnation)                                                                             \
    X(54, host)                                                                                    \
    X(55, os_pid)                                                                                  \
    X(56, otp)                                                                                     \
    X(57, first_held)                                                                              \
    X(58, made)                                                                                    \
    X(59, normal)                                                                                  \
    X(60, lost)                                                                                    \
    X(61, unrecorded)                                                                              \
    X(62, evidence)                                                                                \
    X(63, sibling)                                                                                 \
    X(64, sibling_name)                                                                            \
    X(65, asked_by)                                                                                \
    X(66, asked_by_name)

enum wire_key {
#define X(number, name) WIRE_KEY_##name = number,
    WIRE_KEYS(X)
#undef X
};

#endif
