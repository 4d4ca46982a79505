#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "status/check.h"
#include "web/history.h"

namespace weir::web {

/// Why an archive does not answer, which decides what to do about it.
enum class Silence {
  unreachable,   ///< its page: no connection, or no answer in time
  certificate,   ///< that of its page is not trusted
  token,         ///< its page does not take the token
  other_answer,  ///< its page answers something else
  unreadable,    ///< its directory
  hanging,       ///< a look at its directory or its page has not come back
};
struct SilenceWords {
  std::string_view words;  ///< "The page cannot be reached"
  std::string_view hint;   ///< what to do, in a sentence or two
  /// A command that shows more, with PLACE for the directory or URL.
  std::string_view command;
};
[[nodiscard]] SilenceWords words_of(Silence silence);

/// The known state of an archive of a fleet at one time. A value.
struct FleetState {
  std::optional<std::string> error{};  ///< it does not answer, and why
  Silence silence{};                   ///< with an error
  bool asked = false;                  ///< false: not yet
  status::Level level = status::Level::unknown;
  std::vector<status::Finding> findings{};  ///< gravest first
  std::string server{};
  std::string cluster_name{};  ///< empty: it has none, or it is unknown
  std::string position{};
  std::optional<std::uint64_t> lag{};
  std::optional<std::uint64_t> free{};
  /// Since when it has been as bad as it is, as the archive itself says; unset: unknown.
  std::optional<SystemTime> since{};
};

/// How bad it is, the worst first; within one of them counts how long it has been so.
enum class Rank {
  lost,           ///< WAL is lost, or there is an unacknowledged hole
  damaged,        ///<
  not_archiving,  ///< though it should; also an archive that does not answer
  endangered,     ///< about to lose its slot, or to fill its disk
  behind,
  warned,
  not_known,  ///< not asked yet
  well,
};
[[nodiscard]] Rank rank_of(const FleetState& state);
struct RankWords {
  std::string_view key;    ///< "not_archiving"
  std::string_view words;  ///< "not archiving"
};
[[nodiscard]] RankWords words_of(Rank rank);

/// What a page of an archive says of itself (status --json); an error if it is not understood.
[[nodiscard]] FleetState state_of_json(std::string_view json, bool at_rest);
/// The same of a verdict that was made here.
[[nodiscard]] FleetState state_of_report(const status::StatusReport& report, bool at_rest,
                                         const status::Limits& limits = {});
[[nodiscard]] FleetState state_of_error(std::string error, Silence silence);

struct FleetRow {
  std::string name;
  std::string where;  ///< its directory or URL
  std::string link;
  FleetState state;
  SystemTime since;  ///< it has been so
  /// False: it was so already when this process first looked, at `since`.
  bool since_is_known = true;
  std::optional<SystemTime> answered{};  ///< time of `state`; unset: not asked yet, or it hangs
};

/// Since when an archive is as bad as it is: by what it says itself, or by what was seen here.
class FleetSince {
 public:
  struct Moment {
    SystemTime at;
    bool known = false;  ///< false: it was so before
  };
  [[nodiscard]] Moment of(const FleetState& state, SystemTime now);

 private:
  std::optional<Rank> rank_;
  bool silent_ = false;
  std::optional<SystemTime> answered_;  ///< the last time
  Moment seen_{};
};

/// Worst first: by rank, level, and how long it has been so. Pure.
void sort_rows(std::vector<FleetRow>& rows);
/// The content of <main>, as of the oldest answer.
[[nodiscard]] std::string fleet_html(std::vector<FleetRow> rows, SystemTime now,
                                     std::string_view version);
/// A field for words that rows must contain, for the script; above <main>.
inline constexpr std::string_view kFilter =
    "<p class=\"filter\" hidden><label>Filter <input id=\"filter\" type=\"search\" "
    "placeholder=\"words of a row\"></label></p>\n";
/// "2 of 7 need attention"
[[nodiscard]] std::string fleet_title(const std::vector<FleetRow>& rows);

}  // namespace weir::web
