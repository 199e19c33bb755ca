package assay.bench;

import java.time.Duration;
import java.util.Properties;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.kafka.common.serialization.Serdes;
import org.apache.kafka.streams.KafkaStreams;
import org.apache.kafka.streams.StreamsConfig;
import org.apache.kafka.streams.Topology;
import org.apache.kafka.streams.errors.StreamsUncaughtExceptionHandler.StreamThreadExceptionResponse;
import org.apache.kafka.streams.state.Stores;

/**
 * Folds a topic of events to its end: rows in RocksDB with a changelog, facts to two topics, at least once, one thread.
 * Prints the events and the seconds from the first record until everything is flushed and committed.
 *
 * <p>Arguments: brokers, topic, number of its events, prefix of the output topics, folder of the state.
 */
public final class Main {
  public static void main(String[] args) throws InterruptedException {
    long total = Long.parseLong(args[2]);
    CountDownLatch done = new CountDownLatch(1);
    AtomicLong began = new AtomicLong();
    Runnable first = () -> began.set(System.nanoTime());
    KafkaStreams streams = new KafkaStreams(topology(args[1], args[3], total, first, done::countDown), options(args));
    streams.setUncaughtExceptionHandler(
        error -> {
          error.printStackTrace();
          done.countDown();
          return StreamThreadExceptionResponse.SHUTDOWN_CLIENT;
        });
    streams.start();
    done.await();
    boolean failed = streams.state() == KafkaStreams.State.PENDING_ERROR || streams.state() == KafkaStreams.State.ERROR;
    failed |= !streams.close(Duration.ofSeconds(60));
    double seconds = (System.nanoTime() - began.get()) / 1e9;
    System.out.printf(java.util.Locale.ROOT, "{\"events\": %d, \"seconds\": %.3f}%n", total, seconds);
    System.exit(failed ? 1 : 0);
  }

  private static Topology topology(String topic, String prefix, long total, Runnable first, Runnable last) {
    var store = Stores.persistentKeyValueStore(ReviewProcessor.STORE);
    var rows = Stores.keyValueStoreBuilder(store, Serdes.String(), Serdes.ByteArray()).withCachingEnabled();
    return new Topology()
        .addSource("events", Serdes.String().deserializer(), Serdes.ByteArray().deserializer(), topic)
        .addProcessor("review", () -> new ReviewProcessor(total, first, last), "events")
        .addStateStore(rows, "review")
        .addSink(
            "verdicts", prefix + ".verdicts", Serdes.String().serializer(), Serdes.ByteArray().serializer(), "review")
        .addSink(
            "judgements", prefix + ".judgements", Serdes.String().serializer(), Serdes.ByteArray().serializer(), "review");
  }

  private static Properties options(String[] args) {
    Properties options = new Properties();
    options.put(StreamsConfig.BOOTSTRAP_SERVERS_CONFIG, args[0]);
    options.put(StreamsConfig.APPLICATION_ID_CONFIG, args[3]);
    options.put(StreamsConfig.STATE_DIR_CONFIG, args[4]);
    options.put(StreamsConfig.NUM_STREAM_THREADS_CONFIG, 1);
    options.put(StreamsConfig.PROCESSING_GUARANTEE_CONFIG, StreamsConfig.AT_LEAST_ONCE);
    options.put(StreamsConfig.COMMIT_INTERVAL_MS_CONFIG, 1000);
    options.put(StreamsConfig.STATESTORE_CACHE_MAX_BYTES_CONFIG, 64 << 20);
    options.put(StreamsConfig.REPLICATION_FACTOR_CONFIG, 1);
    options.put(StreamsConfig.consumerPrefix("auto.offset.reset"), "earliest");
    options.put(StreamsConfig.consumerPrefix("max.poll.records"), 4000);
    options.put(StreamsConfig.producerPrefix("compression.type"), "lz4");
    options.put(StreamsConfig.producerPrefix("batch.size"), 512 << 10);
    return options;
  }
}
