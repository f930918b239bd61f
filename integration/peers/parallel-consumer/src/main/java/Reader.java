import io.confluent.parallelconsumer.ParallelConsumerOptions;
import io.confluent.parallelconsumer.ParallelConsumerOptions.CommitMode;
import io.confluent.parallelconsumer.ParallelConsumerOptions.ProcessingOrder;
import io.confluent.parallelconsumer.ParallelStreamProcessor;
import java.time.Duration;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import org.apache.kafka.clients.consumer.KafkaConsumer;
import org.apache.kafka.common.serialization.ByteArrayDeserializer;

/**
 * Parallel Consumer as a reader of the benchmark: arguments and the printed line are those of
 * `benches/kafka.rs`, and `--rehearsal TOPIC --rehearsal-records N`, a topic that is read first so that the
 * JVM has compiled what it needs.
 */
public final class Reader {
    private final Map<String, String> args = new HashMap<>();

    private Reader(String[] words) {
        for (int n = 0; n + 1 < words.length; n += 2) {
            args.put(words[n], words[n + 1]);
        }
    }

    public static void main(String[] words) throws Exception {
        var reader = new Reader(words);
        if (reader.number("--records-per-call") != 1) {
            throw new IllegalArgumentException("in key order it takes one record a call");
        }
        int rehearsed = reader.number("--rehearsal-records");
        if (rehearsed > 0) {
            var ledger = new Ledger(0, rehearsed, 1, reader.number("--cap"), false, false);
            // Every key at once: what is wrong here says nothing.
            reader.read(reader.text("--rehearsal"), 0, ledger);
        }
        var ledger = new Ledger(
            reader.number("--warm-up"), reader.number("--records"), reader.number("--keys"),
            reader.number("--cap"), reader.number("--delay") > 0, reader.text("--latencies").equals("yes"));
        reader.read(reader.text("--topic"), reader.number("--delay"), ledger);
        System.out.println(ledger.line());
        System.exit(0);
    }

    private String text(String name) {
        String value = args.get(name);
        if (value == null) {
            throw new IllegalArgumentException("`" + name + "` is missing");
        }
        return value;
    }

    private int number(String name) {
        return Integer.parseInt(text(name));
    }

    private void read(String topic, int delay, Ledger ledger) throws Exception {
        try (var processor = ParallelStreamProcessor.createEosStreamProcessor(options(topic))) {
            processor.subscribe(List.of(topic));
            processor.poll(context -> {
                var call = ledger.begin(context.getSingleConsumerRecord().value());
                if (delay > 0) {
                    sleep(delay);
                }
                ledger.end(call);
            });
            while (!ledger.isDone(Duration.ofMillis(100))) {
                if (processor.isClosedOrFailed()) {
                    throw new IllegalStateException("Parallel Consumer ended");
                }
            }
        }
    }

    /** Key order; a fixed buffer, since the one that grows takes a minute to do so; commits each second. */
    private ParallelConsumerOptions<byte[], byte[]> options(String topic) {
        var properties = new Properties();
        properties.put("bootstrap.servers", text("--servers"));
        properties.put("group.id", text("--group") + "-" + topic);
        properties.put("enable.auto.commit", "false");
        properties.put("auto.offset.reset", "earliest");
        properties.put("isolation.level", "read_committed");
        var bytes = new ByteArrayDeserializer();
        return ParallelConsumerOptions.<byte[], byte[]>builder()
            .consumer(new KafkaConsumer<>(properties, bytes, new ByteArrayDeserializer()))
            .ordering(ProcessingOrder.KEY)
            .maxConcurrency(number("--cap"))
            .messageBufferSize(20_000)
            .commitMode(CommitMode.PERIODIC_CONSUMER_ASYNCHRONOUS)
            .commitInterval(Duration.ofSeconds(1))
            .build();
    }

    private static void sleep(int millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException interrupted) {
            throw new IllegalStateException(interrupted);
        }
    }
}
