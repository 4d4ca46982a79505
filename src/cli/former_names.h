#pragma once

#include <algorithm>
#include <cstddef>
#include <iterator>
#include <string_view>

namespace weir::cli {

/// An option that was renamed before version 1.0. The former name is accepted until 2.0, on the
/// command line, in a configuration file and in the environment; help and completions leave it out.
struct FormerName {
  std::string_view former;
  std::string_view present;
};

inline constexpr FormerName kFormerNames[] = {
    {"beside", "compare-archive"},
    {"first-sound", "first-valid"},
    {"gap-patience", "gap-timeout"},
    {"keep-local", "local-retention"},
    {"serve-hold", "serve-synchronized-standbys"},
    {"serve-slot-keep", "serve-max-slot-wal-keep-size"},
    {"serve-sync", "serve-synchronous-standby-names"},
    {"slot-on", "slot-hosts"},
    {"store-open", "store-partial-interval"},
    {"up-to-hole", "until-gap"},
};

/// Verbs of `store`.
inline constexpr FormerName kFormerVerbs[] = {{"publish-open", "publish-partial"}};

template <std::size_t Count>
[[nodiscard]] constexpr std::string_view present_name(const FormerName (&names)[Count],
                                                      std::string_view name) {
  const auto* const found =
      std::find_if(std::begin(names), std::end(names),
                   [&](const FormerName& each) { return each.former == name; });
  return found == std::end(names) ? name : found->present;
}
/// The name that option has now: `name` itself unless it is a former one.
[[nodiscard]] constexpr std::string_view present_name(std::string_view option) {
  return present_name(kFormerNames, option);
}
/// The same of a verb.
[[nodiscard]] constexpr std::string_view present_verb(std::string_view verb) {
  return present_name(kFormerVerbs, verb);
}

}  // namespace weir::cli
