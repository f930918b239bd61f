import com.sun.management.OperatingSystemMXBean;
import java.io.IOException;
import java.lang.management.ManagementFactory;
import java.nio.ByteBuffer;
import java.nio.ByteOrder;
import java.nio.file.Files;
import java.nio.file.Path;
import java.time.Duration;
import java.time.Instant;
import java.time.temporal.ChronoUnit;
import java.util.Arrays;
import java.util.Locale;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicIntegerArray;
import java.util.concurrent.atomic.AtomicLong;
import java.util.concurrent.atomic.AtomicLongArray;

/** That each record comes once and in its key's order, and the times: `benches/kafka/ledger.rs` in Java. */
final class Ledger {
    /** A call of the handler that has not returned yet. */
    record Call(int key, int number, long intended, long began) {}

    private static final OperatingSystemMXBean SYSTEM =
        (OperatingSystemMXBean) ManagementFactory.getOperatingSystemMXBean();

    private final int warmUp;
    private final int total;
    private final int cap;
    private final boolean isTimed;
    private final AtomicIntegerArray next;
    private final AtomicLongArray busy;
    private final AtomicIntegerArray latencies;
    private final AtomicLong calls = new AtomicLong();
    private final AtomicLong done = new AtomicLong();
    private final AtomicLong wrong = new AtomicLong();
    private final AtomicBoolean hasBegun = new AtomicBoolean();
    private final CountDownLatch ended = new CountDownLatch(1);
    private volatile long beganAt;
    private volatile long beganProcessor;
    private volatile long endedAt;
    private volatile long endedProcessor;

    Ledger(int warmUp, int records, int keys, int cap, boolean isTimed, boolean hasLatencies) {
        this.warmUp = warmUp;
        this.total = warmUp + records;
        this.cap = cap;
        this.isTimed = isTimed;
        this.next = new AtomicIntegerArray(keys);
        this.busy = new AtomicLongArray(keys);
        this.latencies = new AtomicIntegerArray(hasLatencies ? records : 0);
    }

    Call begin(byte[] bytes) {
        if (warmUp == 0 && !hasBegun.get()) {
            start();
        }
        var value = ByteBuffer.wrap(bytes).order(ByteOrder.LITTLE_ENDIAN);
        int key = value.getInt();
        int number = value.getInt();
        long intended = value.getLong();
        if (key >= next.length()) {
            wrong.incrementAndGet();
            key = 0;
        } else if (next.get(key) != number) {
            wrong.incrementAndGet();
        }
        return new Call(key, number, intended, isTimed ? System.nanoTime() : 0);
    }

    void end(Call call) {
        if (isTimed) {
            busy.addAndGet(call.key, System.nanoTime() - call.began);
            calls.incrementAndGet();
        }
        next.set(call.key, call.number + 1);
        long after = done.incrementAndGet();
        long measured = after - 1 - warmUp;
        if (measured >= 0 && measured < latencies.length()) {
            long now = ChronoUnit.MICROS.between(Instant.EPOCH, Instant.now());
            latencies.set((int) measured, (int) Math.max(0, Math.min(now - call.intended, Integer.MAX_VALUE)));
        }
        if (after == warmUp) {
            start();
            System.out.println("warm");
        }
        if (after == total) {
            endedAt = System.nanoTime();
            endedProcessor = SYSTEM.getProcessCpuTime();
            ended.countDown();
        }
    }

    private void start() {
        if (hasBegun.compareAndSet(false, true)) {
            beganAt = System.nanoTime();
            beganProcessor = SYSTEM.getProcessCpuTime();
        }
    }

    boolean isDone(Duration wait) throws InterruptedException {
        return ended.await(wait.toMillis(), TimeUnit.MILLISECONDS);
    }

    String line() throws IOException {
        double handler = 0;
        double longest = 0;
        int most = 0;
        for (int key = 0; key < busy.length(); key++) {
            handler += busy.get(key) / 1e9;
            longest = Math.max(longest, busy.get(key) / 1e9);
            most = Math.max(most, next.get(key));
        }
        double mean = handler / Math.max(1, calls.get());
        int[] sorted = new int[latencies.length()];
        Arrays.setAll(sorted, latencies::get);
        Arrays.sort(sorted);
        return String.format(Locale.ROOT,
            "{\"records\":%d,\"wrong\":%d,\"seconds\":%.6f,\"processor_seconds\":%.6f,"
                + "\"process_seconds\":%.6f,\"peak_memory\":%d,\"handler_seconds\":%.6f,"
                + "\"bound_seconds\":%.6f,\"single_bound_seconds\":%.6f,\"p50\":%d,\"p99\":%d}",
            done.get() - warmUp, wrong.get(), (endedAt - beganAt) / 1e9,
            (endedProcessor - beganProcessor) / 1e9, SYSTEM.getProcessCpuTime() / 1e9, peakMemory(),
            handler, Math.max(longest, handler / cap),
            mean * Math.max(most, (double) total / cap), quantile(sorted, 50), quantile(sorted, 99));
    }

    private static int quantile(int[] sorted, int percent) {
        return sorted.length == 0 ? 0 : sorted[(int) ((long) (sorted.length - 1) * percent / 100)];
    }

    private static long peakMemory() throws IOException {
        for (String line : Files.readAllLines(Path.of("/proc/self/status"))) {
            if (line.startsWith("VmHWM:")) {
                return Long.parseLong(line.replaceAll("[^0-9]", "")) << 10;
            }
        }
        throw new IOException("`/proc/self/status` has no `VmHWM`");
    }
}
