package assay.bench;

import com.fasterxml.jackson.annotation.JsonFormat;
import com.fasterxml.jackson.annotation.JsonIgnore;
import com.fasterxml.jackson.annotation.JsonPropertyOrder;
import java.util.ArrayList;
import java.util.List;

/** All that the fold keeps about one submission, as streams/review.py keeps it. */
public final class Row {
  /** A live vote: the last that this voter cast on this revision. Stored as an array. */
  @JsonFormat(shape = JsonFormat.Shape.ARRAY)
  @JsonPropertyOrder({"voter", "good", "revision", "offset", "hour", "milliseconds"})
  public record Vote(String voter, int good, int revision, long offset, long hour, Long milliseconds) {}

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
  public long reached = -1;
  public int logOdds;
  public int unsureVotes;
  public int events;
  public String seen = "";

  boolean counts(Vote vote) {
    return vote.revision() == revision && !vote.voter().equals(writer);
  }

  void recount() {
    live = 0;
    good = 0;
    for (Vote vote : votes) {
      if (counts(vote)) {
        live++;
        good += vote.good();
      }
    }
  }

  /** The default policy, in milli-nats: 1386 a vote, decided from 2197 with 2 votes, an editor's case with 5. */
  void decide(long at) {
    logOdds = (2 * good - live) * 1386;
    unsureVotes = 0;
    if (verdict != null || revision == 0 || live < 2) {
      return;
    }
    verdict = logOdds >= 2197 ? "approved" : logOdds <= -2197 ? "rejected" : live >= 5 ? "escalated" : null;
    if (verdict == null) {
      unsureVotes = live;
    } else {
      reached = at;
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
