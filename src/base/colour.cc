#include "base/colour.h"

#include <unistd.h>

#include <cstdlib>

namespace weir {

namespace {

constexpr std::string_view kRed = "\x1b[1;31m";
constexpr std::string_view kYellow = "\x1b[33m";
constexpr std::string_view kGreen = "\x1b[32m";
constexpr std::string_view kPlain = "\x1b[0m";

struct Sign {
  std::string_view words;
  std::string_view colour;
  bool at_front = true;  ///< after spaces; otherwise anywhere in the line
};
/// The first sign found in a line counts, so worse ones come first.
constexpr Sign kSigns[] = {
    {"pgweir: error:", kRed},
    {"PGWEIR CRITICAL", kRed},
    {"PGWEIR WARNING", kYellow},
    {"PGWEIR UNKNOWN", kYellow},
    {"PGWEIR OK", kGreen},
    {"HOLE:", kRed},
    {"LOST BY A FAILOVER:", kRed},
    {"DAMAGED:", kRed},
    {"CRITICAL:", kRed},
    {"WARNING:", kYellow},
    {"NOT FULLY VERIFIED:", kYellow},
    {"Receiver: none runs", kRed},
    {"[ FAIL ]", kRed},
    {"[ warn ]", kYellow},
    {"[   ?  ]", kYellow},
    {"[  ok  ]", kGreen},
    {"all is well", kGreen},
    {"NOT SOUND:", kRed},
    {"sound, except for accepted losses", kYellow},
    {"sound:", kGreen},
    {"accepted:", kYellow},
    {"NO history file", kRed, false},
    {"not covered", kYellow, false},
    {" behind the server", kYellow, false},
    {"caught up", kGreen, false},
    {"all of it in the archive", kGreen, false},
    {": covered", kGreen, false},
};

/// A hole in the picture of `status`.
constexpr std::string_view kCross = "×";

void add(std::string& out, std::string_view line) {
  const auto begin = line.find_first_not_of(' ');
  for (const auto& sign : kSigns) {
    const auto at = sign.at_front ? (begin != std::string_view::npos &&
                                             line.substr(begin).starts_with(sign.words)
                                         ? begin
                                         : std::string_view::npos)
                                  : line.find(sign.words);
    if (at == std::string_view::npos) continue;
    out += line.substr(0, at);
    out += sign.colour;
    out += sign.words;
    out += kPlain;
    out += line.substr(at + sign.words.size());
    return;
  }
  for (auto at = line.find(kCross); at != std::string_view::npos; at = line.find(kCross)) {
    out += line.substr(0, at);
    out += kRed;
    out += kCross;
    out += kPlain;
    line.remove_prefix(at + kCross.size());
  }
  out += line;
}

}  // namespace

bool shows_colour(int fd) {
  const char* const no_colour = std::getenv("NO_COLOR");
  if (no_colour != nullptr && *no_colour != '\0') return false;
  const char* const term = std::getenv("TERM");
  const std::string_view kind = term == nullptr ? "" : term;
  return !kind.empty() && kind != "dumb" && ::isatty(fd) == 1;
}

std::string coloured(std::string_view text) {
  std::string out;
  while (!text.empty()) {
    const auto end = text.find('\n');
    add(out, text.substr(0, end));
    if (end == std::string_view::npos) break;
    out += '\n';
    text.remove_prefix(end + 1);
  }
  return out;
}

}  // namespace weir
