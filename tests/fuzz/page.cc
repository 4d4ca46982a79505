// What a browser, or somebody who is none, sends to the page; what a page elsewhere says to a
// fleet; files that the page reads. Whatever comes, what is shown is escaped, and memory is
// bounded.

#include <string>

#include "fuzz.h"
#include "http/message.h"
#include "http/request_reader.h"
#include "web/fleet.h"
#include "web/fleet_file.h"
#include "web/gate.h"
#include "web/guide.h"
#include "web/history.h"
#include "web/html.h"

using namespace weir;

namespace {

void ask(std::string_view text) {
  static const web::Gate gate("0123456789abcdef", {"wal.example.org"}, "pgweir-1");
  http::RequestReader whole;
  const auto state = whole.add(text);
  // The pieces that it comes in are of no matter, but for what is refused in the middle.
  http::RequestReader pieces;
  auto again = http::RequestReader::State::more;
  for (const char c : text) {
    again = pieces.add({&c, 1});
    if (again != http::RequestReader::State::more) break;
  }
  if (state == http::RequestReader::State::refused)
    PGWEIR_CHECK(whole.status() >= 400 && whole.status() < 500);
  if (state != http::RequestReader::State::done) return;
  PGWEIR_CHECK(again == http::RequestReader::State::done);
  const auto& request = whole.request();
  PGWEIR_CHECK(request.path == pieces.request().path && request.body == pieces.request().body);
  PGWEIR_CHECK(request.body.size() <= http::RequestReader::kMostBody);
  if (gate.lets_in(request)) PGWEIR_CHECK(text.size() > 16);
  static_cast<void>(gate.knows_host(request));
  static_cast<void>(http::form_value(request.body, "token"));
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const auto text = fuzz::text(data, size);
  ask(text);
  const auto html = web::escaped(text);
  PGWEIR_CHECK(html.find_first_of("<>\"'") == std::string::npos);
  static_cast<void>(web::guide_html(text));
  try {
    for (const auto& member : web::parse_fleet(text, "fleet"))
      PGWEIR_CHECK(member.directory.has_value() != member.url.has_value());
  } catch (const Error& error) {
    PGWEIR_CHECK(error.kind() == ErrorKind::usage);
  }
  const auto state = web::state_of_json(text, false);
  static_cast<void>(web::rank_of(state));
  if (const auto history = web::History::parse(text))
    PGWEIR_CHECK(web::History::parse(history->to_text()));
  return 0;
}

std::vector<test::Bytes> fuzz::corpus() {
  std::vector<test::Bytes> inputs;
  for (const auto* text :
       {"GET / HTTP/1.1\r\nHost: localhost:9190\r\nCookie: a=b; pgweir-1=0f\r\n\r\n",
        "POST /login HTTP/1.1\r\nContent-Length: 9\r\n\r\ntoken=a%2B",
        "POST / HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
        "GET /../x?y HTTP/1.0\r\nAuthorization: Bearer 0123456789abcdef\r\nHost: [::1]\r\n\r\n",
        "[orders]\ndirectory = /srv/wal\nbackups = /b\n[b]\nurl = https://db2\ntoken-file = /t\n",
        "{\"findings\":[{\"level\":\"WARNING\",\"topic\":\"slot\",\"text\":\"x\"}],\"lag_bytes\":"
        "5}",
        "{\"version\":1,\"shorts\":[[300,1,1,0,5,0,0.5,2]],\"hours\":[[0,1,1,0,5,0,1,2]],"
        "\"events\":[[1,2,3,true,\"x\"]]}",
        "# A\n\n| `a` | b |\n|---|---|\n| **c** | [d](#e) |\n\n- f\n  g\n```\nh\n```\n",
        "<img src=x onerror=\"alert(1)\"> \xC3\xBC \xF0\x9F\x98\x80 \xFF"})
    inputs.push_back(test::bytes_of(text));
  return inputs;
}
