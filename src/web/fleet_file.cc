#include "web/fleet_file.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/error.h"
#include "base/text.h"

namespace weir::web {

namespace {

constexpr std::size_t kMostMembers = 1000;
constexpr std::size_t kLongestName = 100;

bool is_name(std::string_view text) {
  return !text.empty() && text.size() <= kLongestName && text.front() != '.' &&
         std::all_of(text.begin(), text.end(), [](char c) {
           return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
                  c == '-' || c == '_' || c == '.';
         });
}

class Reader {
 public:
  explicit Reader(const std::string& path) : path_(path) {}

  void line(std::string_view text) {
    ++number_;
    text = trimmed(text);
    if (text.empty() || text.front() == '#' || text.front() == ';') return;
    if (text.front() == '[') {
      section(text);
    } else {
      const auto equals = text.find('=');
      if (equals == std::string_view::npos) throw wrong("neither a [section] nor \"key = value\"");
      setting(trimmed(text.substr(0, equals)), std::string(trimmed(text.substr(equals + 1))));
    }
  }
  std::vector<FleetMember> finish() {
    complete();
    if (members_.empty()) throw wrong("it does not list any archives");
    return std::move(members_);
  }

 private:
  Error wrong(std::string what) const {
    auto error = Error(ErrorKind::usage, "the fleet file is invalid: " + std::move(what));
    error.with("path", path_);
    if (number_ > 0) error.with("line", number_);
    return error.hint(
        "Each archive needs a section: [NAME], then directory = DIR, or url = URL with "
        "token-file = FILE.");
  }

  void section(std::string_view text) {
    complete();
    const auto name = text.substr(1, text.size() - 2);
    if (text.back() != ']' || !is_name(name))
      throw wrong("section names contain only letters, digits, '-', '_' and '.'");
    if (std::any_of(members_.begin(), members_.end(),
                    [&](const auto& member) { return member.name == name; }))
      throw wrong(fmt::format("section [{}] is specified twice", name));
    if (members_.size() == kMostMembers)
      throw wrong(fmt::format("more than {} archives", kMostMembers));
    members_.push_back({.name = std::string(name)});
  }

  void setting(std::string_view key, std::string value) {
    if (members_.empty()) throw wrong("a setting before the first section");
    if (value.empty()) throw wrong(fmt::format("\"{}\" has no value", key));
    // As in configuration files.
    if (value.size() > 1 && (value.front() == '"' || value.front() == '\'') &&
        value.front() == value.back())
      throw wrong(fmt::format("quoted value of \"{}\": the quotes would be part of it", key));
    auto& member = members_.back();
    const auto once = [&](std::optional<std::string>& to) {
      if (to) throw wrong(fmt::format("\"{}\" is specified twice", key));
      to = std::move(value);
    };
    if (key == "directory") {
      once(member.directory);
    } else if (key == "url") {
      if (!value.starts_with("http://") && !value.starts_with("https://"))
        throw wrong("a URL must begin with http:// or https://");
      while (value.ends_with('/')) value.pop_back();
      once(member.url);
    } else if (key == "token-file") {
      once(member.token_file);
    } else if (key == "ca") {
      once(member.ca);
    } else if (key == "backups") {
      member.backups.push_back(std::move(value));
    } else if (key == "receiver") {
      if (value != "none" && value != "expected")
        throw wrong("\"receiver\" must be none (no receiver writes the archive) or expected");
      member.at_rest = value == "none";
    } else {
      throw wrong(fmt::format("unknown setting \"{}\"", key));
    }
  }

  /// The section that ends here.
  void complete() const {
    if (members_.empty()) return;
    const auto& member = members_.back();
    if (member.directory.has_value() == member.url.has_value())
      throw wrong(fmt::format("[{}] needs either a directory or a url", member.name));
    if (member.token_file && !member.url)
      throw wrong(fmt::format("[{}] has a token-file without a url", member.name));
    if (member.ca && !(member.url && member.url->starts_with("https://")))
      throw wrong(fmt::format("[{}] has a ca without an https:// url", member.name));
    if (!member.backups.empty() && !member.directory)
      throw wrong(fmt::format("[{}] has backups without a directory", member.name));
  }

  const std::string& path_;
  std::size_t number_ = 0;
  std::vector<FleetMember> members_;
};

}  // namespace

std::vector<FleetMember> parse_fleet(std::string_view text, const std::string& path) {
  Reader reader(path);
  while (!text.empty()) {
    const auto end = text.find('\n');
    reader.line(text.substr(0, end));
    if (end == std::string_view::npos) break;
    text.remove_prefix(end + 1);
  }
  return reader.finish();
}

}  // namespace weir::web
