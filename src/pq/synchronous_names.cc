#include "pq/synchronous_names.h"

#include <algorithm>
#include <cctype>
#include <utility>

namespace weir::pq {

/// The grammar of replication/syncrep_scanner.l: names, numbers, quoted names, *.
std::vector<std::string> synchronous_names(std::string_view setting) {
  struct Word {
    std::string text;
    bool quoted = false;
  };
  std::vector<Word> words;
  for (std::size_t at = 0; at < setting.size();) {
    const auto c = static_cast<unsigned char>(setting[at]);
    if (c == '"') {
      Word word{.text = "", .quoted = true};
      for (++at; at < setting.size(); ++at) {
        if (setting[at] == '"' && (at + 1 >= setting.size() || setting[at + 1] != '"')) break;
        if (setting[at] == '"') ++at;
        word.text += setting[at];
      }
      ++at;
      words.push_back(std::move(word));
    } else if (std::isalnum(c) != 0 || c == '_' || c >= 0x80) {
      Word word;
      for (; at < setting.size(); ++at) {
        const auto each = static_cast<unsigned char>(setting[at]);
        if (std::isalnum(each) == 0 && each != '_' && each != '$' && each < 0x80) break;
        word.text += setting[at];
      }
      words.push_back(std::move(word));
    } else {
      if (c == '*' || c == '(') words.push_back({std::string(1, setting[at]), false});
      ++at;
    }
  }
  // "FIRST 2 (a, b)", "ANY 1 (a)", "2 (a, b)": words before the parenthesis are not names.
  const auto bracket = std::find_if(words.begin(), words.end(), [](const Word& word) {
    return !word.quoted && word.text == "(";
  });
  if (bracket != words.end()) words.erase(words.begin(), bracket + 1);
  std::vector<std::string> names;
  for (auto& word : words) {
    std::transform(word.text.begin(), word.text.end(), word.text.begin(),
                   [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
    names.push_back(std::move(word.text));
  }
  return names;
}

bool names_standby(std::string_view setting, std::string_view application_name) {
  std::string own(application_name);
  std::transform(own.begin(), own.end(), own.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  const auto names = synchronous_names(setting);
  return std::any_of(names.begin(), names.end(),
                     [&](const std::string& name) { return name == "*" || name == own; });
}

}  // namespace weir::pq
