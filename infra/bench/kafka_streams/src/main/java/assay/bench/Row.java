package assay.bench;

import com.fasterxml.jackson.annotation.JsonFormat;
import com.fasterxml.jackson.annotation.JsonIgnore;
import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import java.util.ArrayList;
import java.util.Collections;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;

/** All that the fold keeps about one submission, as streams/review.py keeps it. */
public final class Row {
  /** A live vote: the last that this voter cast on this revision. Stored as an array. */
  @JsonFormat(shape = JsonFormat.Shape.ARRAY)
  @JsonPropertyOrder({"voter", "label", "revision", "offset", "hour", "milliseconds"})
  public record Vote(String voter, String label, int revision, long offset, long hour, Long milliseconds) {}

  private static final long ONE = 1_000_000_000;

  public long offset = -1;
  public String project = "";
  public String kind = "";
  public String writer = "";
  public String slice = "";
  public String prompt;
  public int revision;
  public long hour;
  public List<Vote> votes = new ArrayList<>();
  public int live;
  public int good;
  public String verdict;
  public String label;
  public String because;
  public Map<String, Integer> credits;
  public long reached = -1;
  public int logOdds;
  public int unsureVotes;
  public int events;
  public String seen = "";

  boolean counts(Vote vote) {
    return vote.revision() == revision && !vote.voter().equals(writer);
  }

  /** Whether it also decides: a label that the policy does not name counts for nobody. */
  boolean weighs(Vote vote) {
    return counts(vote) && (vote.label().equals("good") || vote.label().equals("bad"));
  }

  void recount() {
    live = 0;
    good = 0;
    for (Vote vote : votes) {
      if (weighs(vote)) {
        live++;
        good += vote.label().equals("good") ? 1 : 0;
      }
    }
  }

  /** The default policy, in milli-nats: 1386 a vote, decided from 2197 with 2 votes, an editor's case with 5. */
  void decide(long at) {
    logOdds = (2 * good - live) * 1386;
    unsureVotes = 0;
    if (verdict != null) {
      creditAnew();
      return;
    }
    if (revision == 0 || live < 2) {
      return;
    }
    boolean sure = Math.abs(logOdds) >= 2197;
    if (!sure && live < 5) {
      unsureVotes = live;
      return;
    }
    verdict = !sure ? "escalated" : logOdds > 0 ? "approved" : "rejected";
    label = leading();
    because = sure ? "confidence" : "overlap_max";
    reached = at;
    credits = shares();
  }

  /** Of a tie the first label of the policy. */
  String leading() {
    return logOdds >= 0 ? "good" : "bad";
  }

  /** Probability of the leading label, rounded down to a permille. */
  int confidence() {
    return (int) (1000 * ONE / (ONE + falling()));
  }

  /** exp(-x) of the distance between both labels, in billionths, as streams/scores.py rounds it. */
  private long falling() {
    int distance = Math.abs(logOdds);
    return distance >= 20_724 ? 0 : (long) Math.rint(Math.exp(-distance / 1000.0) * ONE);
  }

  private Map<String, Integer> shares() {
    int other = (int) (1000 * falling() / (ONE + falling()));
    Map<String, Integer> found = new LinkedHashMap<>();
    for (String each : List.of("good", "bad")) {
      int share = each.equals(leading()) ? 1000 - other : other;
      if (share > 0) {
        found.put(each, share);
      }
    }
    return found;
  }

  /** Late votes change what is likely; it is said again when it has moved by much, or to the other label. */
  private void creditAnew() {
    Map<String, Integer> now = shares();
    boolean moved = false;
    for (String each : List.of("good", "bad")) {
      moved |= Math.abs(now.getOrDefault(each, 0) - credits.getOrDefault(each, 0)) > 300;
    }
    if (moved || !Collections.max(credits.values()).equals(credits.get(leading()))) {
      credits = now;
    }
  }

  @JsonIgnore
  boolean isDecided() {
    return decided(verdict);
  }

  static boolean decided(String verdict) {
    return "approved".equals(verdict) || "rejected".equals(verdict);
  }
}
