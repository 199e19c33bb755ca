package assay.bench;

import com.fasterxml.jackson.databind.DeserializationFeature;
import com.fasterxml.jackson.databind.ObjectMapper;
import com.fasterxml.jackson.databind.ObjectReader;
import com.fasterxml.jackson.databind.ObjectWriter;
import java.io.IOException;
import java.io.UncheckedIOException;
import java.time.Instant;
import java.util.ArrayList;
import java.util.List;
import java.util.zip.CRC32;
import org.apache.kafka.streams.processor.api.Processor;
import org.apache.kafka.streams.processor.api.ProcessorContext;
import org.apache.kafka.streams.processor.api.Record;
import org.apache.kafka.streams.processor.api.RecordMetadata;
import org.apache.kafka.streams.state.KeyValueStore;

/** The common path of streams/review.py: received, edited and voted, under the default policy. */
final class ReviewProcessor implements Processor<String, byte[], String, byte[]> {
  static final String STORE = "rows";

  private static final ObjectMapper JSON =
      new ObjectMapper().configure(DeserializationFeature.FAIL_ON_UNKNOWN_PROPERTIES, false);
  private static final ObjectReader EVENT = JSON.readerFor(Facts.Event.class);
  private static final ObjectReader ROW = JSON.readerFor(Row.class);
  private static final ObjectWriter ROW_OUT = JSON.writerFor(Row.class);
  private static final ObjectWriter FACT_OUT = JSON.writerFor(Facts.Envelope.class);

  /** There is one task for each partition, all in one thread: they count together. */
  private static long handled;

  private final long total;
  private final Runnable first;
  private final Runnable last;
  private ProcessorContext<String, byte[]> context;
  private KeyValueStore<String, byte[]> rows;

  // Of the record at hand.
  private RecordMetadata at;
  private Facts.Event event;
  private long millis;
  private Row row;
  private int index;

  ReviewProcessor(long total, Runnable first, Runnable last) {
    this.total = total;
    this.first = first;
    this.last = last;
  }

  @Override
  public void init(ProcessorContext<String, byte[]> given) {
    context = given;
    rows = given.getStateStore(STORE);
  }

  @Override
  public void process(Record<String, byte[]> record) {
    if (handled++ == 0) {
      first.run();
    }
    try {
      fold(record);
    } catch (IOException error) {
      throw new UncheckedIOException(error);
    }
    if (handled == total) {
      last.run();
    }
  }

  private void fold(Record<String, byte[]> record) throws IOException {
    at = context.recordMetadata().orElseThrow();
    event = EVENT.readValue(record.value());
    millis = Instant.parse(event.time).toEpochMilli();
    index = 0;
    byte[] stored = rows.get(event.subject);
    row = stored == null ? new Row() : ROW.readValue(stored);
    if (at.offset() <= row.offset || row.seen.contains(event.id)) {
      return;
    }
    if (apply()) {
      row.offset = at.offset();
      row.events++;
      row.seen += event.id + ":" + crc(record.value()) + " ";
      rows.put(event.subject, ROW_OUT.writeValueAsBytes(row));
    }
  }

  private static String crc(byte[] value) {
    CRC32 crc = new CRC32();
    crc.update(value);
    return Long.toHexString(crc.getValue());
  }

  /** Whether the event counts; what it leads to is forwarded. */
  private boolean apply() throws IOException {
    return switch (event.type) {
      case "assay.SubmissionReceived.v1", "assay.SubmissionReceived.v2", "assay.SubmissionReceived.v3" -> received();
      case "assay.SubmissionEdited.v1", "assay.SubmissionEdited.v2" -> edited();
      case "assay.VoteCast.v1", "assay.VoteCast.v2" -> voted();
      default -> throw new IOException("not on the common path: " + event.type);
    };
  }

  private boolean received() throws IOException {
    if (row.revision != 0) {
      return false;
    }
    row.project = event.data.project;
    row.kind = event.data.kind;
    row.writer = event.data.writer;
    row.slice = event.data.slice;
    row.prompt = event.data.prompt;
    row.revision = 1;
    row.hour = hour();
    row.recount();
    judge(ofWriter("submitted"), row.writer);
    settle();
    return true;
  }

  private boolean edited() throws IOException {
    if (row.revision == 0 || event.data.revision != row.revision + 1) {
      return false;
    }
    if (row.verdict != null) {
      verdict("assay.VerdictReopened.v2", new Facts.Reopened(row.project, row.revision, row.verdict, "edited", origin()));
    }
    row.revision = event.data.revision;
    row.verdict = null;
    row.recount();
    // What was judged about the earlier revision stays: only what is now said is new.
    settle();
    return true;
  }

  private boolean voted() throws IOException {
    List<Facts.Scored> before = judgements();
    List<String> people = people();
    Row.Vote vote =
        new Row.Vote(
            event.data.voter,
            event.data.label,
            event.data.revision,
            at.offset(),
            hour(),
            event.data.durationMilliseconds);
    int earlier = place(vote.voter());
    if (earlier >= 0 && row.votes.get(earlier).revision() > vote.revision()) {
      return true;
    }
    String verdict = row.verdict;
    int unsure = row.unsureVotes;
    if (earlier >= 0) {
      row.votes.set(earlier, vote);
    } else {
      row.votes.add(vote);
    }
    row.recount();
    decideAndSay(verdict, unsure);
    sayDifference(before, people);
    return true;
  }

  private int place(String voter) {
    for (int each = 0; each < row.votes.size(); each++) {
      if (row.votes.get(each).voter().equals(voter)) {
        return each;
      }
    }
    return -1;
  }

  /** Where nothing was said before. */
  private void settle() throws IOException {
    decideAndSay(null, 0);
    sayDifference(List.of(), List.of());
  }

  private void decideAndSay(String verdictBefore, int unsureBefore) throws IOException {
    row.decide(at.offset());
    if (row.verdict != null && !row.verdict.equals(verdictBefore)) {
      verdict("assay.VerdictReached.v2", reached());
    }
    if (row.unsureVotes != 0 && row.unsureVotes != unsureBefore) {
      var asked =
          new Facts.Requested(
              row.project, row.revision, "unsure", 1, row.live, row.leading(), row.confidence(), 900, row.logOdds, origin());
      verdict("assay.OverlapRequested.v2", asked);
    }
  }

  private Facts.Reached reached() {
    List<Long> deciding = row.votes.stream().filter(row::weighs).map(Row.Vote::offset).sorted().limit(1000).toList();
    return new Facts.Reached(
        row.project,
        row.revision,
        row.verdict,
        row.label,
        row.confidence(),
        row.because,
        0,
        "majority",
        0,
        row.logOdds,
        row.good,
        row.live - row.good,
        deciding,
        origin());
  }

  // --- judgements ------------------------------------------------------------------------------

  private List<Facts.Scored> judgements() {
    List<Facts.Scored> made = new ArrayList<>();
    if (row.isDecided()) {
      made.add(ofWriter(row.verdict));
    }
    if (row.verdict != null) {
      row.votes.stream().filter(row::counts).map(this::ofVoter).forEach(made::add);
    }
    return made;
  }

  /** Whom `judgements` speaks of, in the same order. */
  private List<String> people() {
    List<String> found = new ArrayList<>();
    if (row.isDecided()) {
      found.add(row.writer);
    }
    if (row.verdict != null) {
      row.votes.stream().filter(row::counts).map(Row.Vote::voter).forEach(found::add);
    }
    return found;
  }

  private Facts.Scored ofWriter(String outcome) {
    return new Facts.Scored(
        row.project, "writer", outcome, 1, event.subject, row.revision, row.hour, null, null, null, null);
  }

  private Facts.Scored ofVoter(Row.Vote vote) {
    String outcome = !row.isDecided() ? "credited" : vote.label().equals(row.label) ? "agreed" : "disagreed";
    return new Facts.Scored(
        row.project,
        "voter",
        outcome,
        1,
        event.subject,
        row.revision,
        vote.hour(),
        vote.label(),
        row.label,
        row.credits,
        vote.milliseconds());
  }

  private void sayDifference(List<Facts.Scored> before, List<String> peopleBefore) throws IOException {
    List<Facts.Scored> after = judgements();
    List<String> people = people();
    for (int each = 0; each < before.size(); each++) {
      if (!after.contains(before.get(each))) {
        judge(takenBack(before.get(each)), peopleBefore.get(each));
      }
    }
    for (int each = 0; each < after.size(); each++) {
      if (!before.contains(after.get(each))) {
        judge(after.get(each), people.get(each));
      }
    }
  }

  private static Facts.Scored takenBack(Facts.Scored one) {
    return new Facts.Scored(
        one.project(), one.role(), one.outcome(), -1, one.submission(), one.revision(), one.hour(), one.label(),
        one.truth(), one.credits(), one.durationMilliseconds());
  }

  // --- out -------------------------------------------------------------------------------------

  private void verdict(String type, Object data) throws IOException {
    say("verdicts", event.subject, type, data);
  }

  private void judge(Facts.Scored scored, String annotator) throws IOException {
    say("judgements", annotator, "assay.JudgementScored.v2", new Facts.ScoredAt(scored, origin()));
  }

  private Facts.Origin origin() {
    return new Facts.Origin(at.partition(), at.offset(), index);
  }

  private void say(String child, String key, String type, Object data) throws IOException {
    var envelope = new Facts.Envelope("1.0", id(), type, "assay/review", key, event.time, data);
    context.forward(new Record<>(key, FACT_OUT.writeValueAsBytes(envelope), millis), child);
    index++;
  }

  /** A UUIDv7 whose lower bits follow from the origin, as schemas/identity.py makes them but for the hash. */
  private String id() {
    long low = (1L << 63) | (((long) at.partition() << 55) ^ (at.offset() << 24) + index) & ((1L << 62) - 1);
    String time = Long.toHexString(1L << 48 | millis).substring(1); // twelve digits
    String rest = Long.toHexString(low);
    return time.substring(0, 8) + "-" + time.substring(8) + "-7000-" + rest.substring(0, 4) + "-" + rest.substring(4);
  }

  private long hour() {
    return millis / 3_600_000;
  }
}
